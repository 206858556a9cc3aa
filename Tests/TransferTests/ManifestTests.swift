internal import ClusterModel
internal import OCI
internal import Testing

@testable internal import Transfer

private func entry(_ path: String, _ kind: LayerEntry.Kind, mode: UInt16 = 0o644) -> LayerEntry {
    LayerEntry(path: Array(path.utf8), mode: mode, kind: kind)
}

private let someContent = ChunkedContent(whole: Digest.of([1]))

private func hole(_ length: Int64) -> ChunkedContent {
    ChunkedContent(pieces: [ChunkedContent.Piece(digest: nil, length: length)])
}

private func chunks(_ lengths: [Int64], hole: Int...) -> ChunkedContent {
    ChunkedContent(
        pieces: lengths.enumerated().map {
            ChunkedContent.Piece(digest: hole.contains($0.offset) ? nil : Digest.of([9]), length: $0.element)
        })
}

/// One entry of each kind.
func sampleEntries() -> [LayerEntry] {
    var file = entry("d/f", .file(size: 5, content: someContent), mode: 0o4755)
    file.uid = 70_000
    file.gid = 4_294_967_295
    file.modified = FileTime(seconds: -5, nanoseconds: 999_999_999)
    file.attributes = [
        ExtendedAttribute(name: Array("user.a".utf8), value: []),
        ExtendedAttribute(name: Array("user.b".utf8), value: [0, 255]),
    ]
    var link = file
    link.path = Array("d/h".utf8)
    link.kind = .hardlink(target: file.path)
    var odd = entry("", .fifo)
    odd.path = [0x6E, 0xFF, 0xFE]
    let pieces = [
        ChunkedContent.Piece(digest: Digest.of([2]), length: 20_000),
        ChunkedContent.Piece(digest: Digest.of([3]), length: 45_536), ChunkedContent.Piece(digest: nil, length: 65_536),
        ChunkedContent.Piece(digest: Digest.of([4]), length: 7),
    ]
    return [
        entry("large", .file(size: 131_079, content: ChunkedContent(pieces: pieces))),
        entry("", .directory(isOpaque: false), mode: 0o711), entry("d", .directory(isOpaque: true), mode: 0o1777), file,
        link,
        entry("d-e", .symlink(target: Array("../x".utf8)), mode: 0o777), .whiteout(Array("gone".utf8)), odd,
        entry("null", .characterDevice(major: 1, minor: 3)), entry("sda", .blockDevice(major: 8, minor: 0)),
    ]
}

@Suite struct ManifestTests {
    @Test func `a manifest survives its encoding and order does not matter`() throws {
        let manifest = try LayerManifest(entries: sampleEntries().reversed())
        let encoded = manifest.encoded()
        let decoded = try LayerManifest(decoding: encoded)
        #expect(decoded.entries == manifest.entries)
        #expect(decoded.id == manifest.id && manifest.id == Digest.of(encoded))
        #expect(decoded.contentBytes == 131_084)
        #expect(decoded.deletions.count == 2)
        #expect(manifest.entries.map(\.displayPath).prefix(5) == ["/", "/d", "/d-e", "/d/f", "/d/h"])
    }

    @Test func `the encoding is as it was: ids are in caches of other nodes`() throws {
        #expect(
            try LayerManifest(entries: [entry("a", .file(size: 1, content: someContent))]).encoded()
                == Array("PBLM".utf8) + [2, 1, 2, 1, 0x61, 0xA4, 3, 0, 0, 0, 0, 0, 1] + someContent.digest.bytes)
        #expect(try LayerManifest(entries: []).encoded() == Array("PBLM".utf8) + [2, 0])
    }

    @Test func `every cut is refused and every flipped bit is another manifest or none`() throws {
        let manifest = try LayerManifest(entries: sampleEntries())
        let encoded = manifest.encoded()
        for length in 0..<encoded.count {
            #expect(throws: ManifestError.self) { try LayerManifest(decoding: Array(encoded[..<length])) }
        }
        #expect(throws: ManifestError.trailingBytes(1)) { try LayerManifest(decoding: encoded + [0]) }
        for bit in 0..<encoded.count * 8 {
            var damaged = encoded
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            guard let other = try? LayerManifest(decoding: damaged) else { continue }
            #expect(other.entries != manifest.entries)
            // What is accepted is the one encoding of what it says.
            #expect(other.encoded() == damaged)
        }
    }

    @Test func `entries that no tree can have are refused`() {
        let directory = entry("d", .directory(isOpaque: false))
        let file = entry("f", .file(size: 1, content: someContent))
        var otherOwner = entry("g", .hardlink(target: Array("f".utf8)))
        otherOwner.uid = 1
        var whiteoutWithMode = LayerEntry.whiteout(Array("w".utf8))
        whiteoutWithMode.mode = 1
        var overlay = file
        overlay.attributes = [ExtendedAttribute(name: Array("trusted.overlay.redirect".utf8), value: [1])]
        var unordered = file
        unordered.attributes = ["user.b", "user.a"].map { ExtendedAttribute(name: Array($0.utf8), value: []) }
        var late = file
        late.modified.nanoseconds = 1_000_000_000
        let cases: [[LayerEntry]] = [
            [entry("../x", .fifo)], [directory, entry("d/../x", .fifo)], [entry("/x", .fifo)], [entry(".", .fifo)],
            [directory, entry("d//x", .fifo)], [entry("x/", .fifo)], [entry("x/y", .fifo)],
            [file, entry("f/x", .fifo)],
            [entry("l", .symlink(target: Array("/etc".utf8)), mode: 0o777), entry("l/x", .fifo)],
            [file, file], [entry(String(repeating: "x", count: 256), .fifo)], [entry("a\0b", .fifo)],
            [entry("", .fifo)], [entry("c", .characterDevice(major: 0, minor: 0))],
            [entry("c", .characterDevice(major: 4_096, minor: 0))], [entry("l", .symlink(target: [65]), mode: 0o644)],
            [entry("l", .symlink(target: []), mode: 0o777)], [entry("h", .hardlink(target: Array("f".utf8)))],
            [entry("a", .hardlink(target: Array("f".utf8))), file], [file, otherOwner],
            [directory, entry("e", .hardlink(target: Array("d".utf8)))], [whiteoutWithMode],
            [entry("o", .directory(isOpaque: true)), .whiteout(Array("o/w".utf8))], [overlay], [unordered], [late],
            [entry("n", .file(size: -1, content: someContent))], [entry("m", .fifo, mode: 0o10000)],
            [
                entry("x", .file(size: 1 << 50, content: hole(1 << 50))),
                entry("y", .file(size: 1, content: someContent)),
            ],
            [entry("p", .file(size: 70_000, content: someContent))],
            [entry("p", .file(size: 131_072, content: hole(65_536)))],
            [entry("p", .file(size: 65_536, content: hole(65_536)))],
            [entry("p", .file(size: 131_072, content: chunks([65_535, 65_537], hole: 1)))],
            [entry("p", .file(size: 70_000, content: chunks([10_000, 60_000])))],
            [entry("p", .file(size: 300_000, content: chunks([300_000])))],
            [entry("p", .file(size: 131_072, content: chunks([65_536, 65_536], hole: 0, 1)))],
        ]
        for entries in cases {
            #expect(throws: ManifestError.self, "\(entries.map(\.displayPath))") { try LayerManifest(entries: entries) }
        }
    }

    @Test func `a count without entries allocates nothing`() {
        #expect(throws: ManifestError.self) {
            try LayerManifest(decoding: Array("PBLM".utf8) + [2, 0xFF, 0xFF, 0xC0, 0x01])
        }
    }
}
