internal import ClusterModel
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Archives whose numbers and lengths are made to break the node that reads them.
@Suite struct HostileArchiveTests {
    private func header(_ name: String, _ type: UInt8, size: Int) -> [UInt8] {
        let entry = LayerEntry(path: [], mode: 0o644, kind: .fifo)
        return TarWriter.header(entry, name: Array(name.utf8), type: type, size: Int64(size))
    }

    private func padded(_ bytes: [UInt8]) -> [UInt8] { bytes + TarWriter.padding(Int64(bytes.count)) }

    private func file(_ content: [UInt8]) -> [UInt8] {
        header("f", TarEntry.Kind.file.rawValue, size: content.count) + padded(content)
    }

    private func pax(_ key: String, _ value: String) -> [UInt8] {
        let record = TarWriter.record(Array(key.utf8), Array(value.utf8))
        return header("x", UInt8(ascii: "x"), size: record.count) + padded(record)
    }

    /// The members of an archive, without their content.
    private func members(_ archive: [UInt8]) throws -> [TarEntry] {
        var reader = TarReader(ArchiveStream(Bytes(archive), maximum: 1 << 30))
        var members: [TarEntry] = []
        while let member = try reader.next() { members.append(member) }
        return members
    }

    @Test func `times that no clock shows are refused`() {
        for text in ["-9223372036854775808", "-9223372036854775808.5", "9223372036854775807", "\(1 << 55)"] {
            #expect(TarReader.time(text) == nil, "\(text)")
            #expect(throws: ArchiveError.self, "\(text)") { try members(pax("mtime", text) + file([1])) }
        }
        #expect(TarReader.time("-1.25") == FileTime(seconds: -2, nanoseconds: 750_000_000))
        #expect(TarReader.time("\((1 << 55) - 1)") == FileTime(seconds: (1 << 55) - 1))
    }

    @Test func `a file that is longer or shorter than its data has a list of extents`() throws {
        for size in ["1", "599", "601", "100000"] {
            for key in ["GNU.sparse.realsize", "GNU.sparse.size"] {
                #expect(throws: ArchiveError.self, "\(key)=\(size)") {
                    try members(pax(key, size) + file([UInt8](repeating: 1, count: 600)))
                }
            }
        }
        let listed = pax("GNU.sparse.size", "2000") + pax("GNU.sparse.map", "100,600")
        let sparse = try members(listed + file([UInt8](repeating: 1, count: 600)))
        #expect(sparse.map(\.size) == [2_000])
    }

    @Test func `the extended headers of a member have a limit together, and the next member has its own`() throws {
        let comment = pax("comment", String(repeating: "c", count: 3 << 20))
        #expect(try members(comment + file([1]) + comment + file([2])).count == 2)
        #expect(throws: ArchiveError.self) { try members(comment + comment + file([1])) }
        let name = header("././@LongLink", UInt8(ascii: "L"), size: 3 << 20) + [UInt8](repeating: 97, count: 3 << 20)
        #expect(throws: ArchiveError.self) { try members(comment + name + file([1])) }
    }

    @Test func `a number in a list of extents ends after the digits that a number can have`() throws {
        let endless = pax("GNU.sparse.major", "1") + file([UInt8](repeating: UInt8(ascii: "1"), count: 1 << 20))
        let stream = ArchiveStream(Bytes(endless), maximum: 1 << 30)
        #expect(throws: ArchiveError.self) {
            var reader = TarReader(stream)
            _ = try reader.next()
        }
        #expect(stream.position < 8 * Int64(TarReader.blockBytes))
    }

    @Test func `directories that names imply count as entries`() throws {
        func add(_ depth: Int, to layout: inout ArchiveLayout) throws {
            let name = (0..<depth).map { "\(depth)-\($0)/" }.joined() + "p"
            try layout.add(TarEntry(name: Array(name.utf8), kind: .fifo), content: nil)
        }
        var layout = ArchiveLayout(over: MergedTree(), entriesMax: 100)
        try add(59, to: &layout)
        // The same ones again are no more of them.
        try add(59, to: &layout)
        #expect(throws: ArchiveError.self) { try add(50, to: &layout) }
    }

    @Test func `paths, link targets and attributes have a limit together`() throws {
        let attribute = ExtendedAttribute(name: Array("user.a".utf8), value: [UInt8](repeating: 1, count: 400))
        func member(_ name: String, link: Int = 0, attributes: Int = 0) -> TarEntry {
            var member = TarEntry(name: Array(name.utf8), kind: link > 0 ? .symlink : .fifo)
            member.linkName = [UInt8](repeating: 97, count: link)
            member.attributes = Array(repeating: attribute, count: attributes)
            return member
        }
        let lists = [
            [member("a", attributes: 2), member("b", attributes: 1)], [member("a", link: 600), member("b", link: 600)],
            [
                member(String(repeating: "a", count: 200) + "/" + String(repeating: "b", count: 200) + "/p"),
                member("b"),
            ],
        ]
        for (index, members) in lists.enumerated() {
            #expect(throws: ArchiveError.self, "list \(index)") {
                var layout = ArchiveLayout(over: MergedTree(), metadataBytesMax: 1_000)
                for member in members { try layout.add(member, content: nil) }
            }
        }
        #expect(throws: ArchiveError.self) {
            var layout = ArchiveLayout(over: MergedTree())
            try layout.add(member("l", link: LayerManifest.pathBytesMax + 1), content: nil)
        }
    }

    @Test func `links lead no deeper than a path can be long`() throws {
        let long = Array(repeatElement(String(repeating: "d", count: 200), count: 15).joined(separator: "/").utf8)
        func link(_ name: String, _ kind: TarEntry.Kind, to target: [UInt8]) -> TarEntry {
            var member = TarEntry(name: Array(name.utf8), kind: kind)
            member.linkName = target
            return member
        }
        var layout = ArchiveLayout(over: MergedTree())
        try layout.add(link("l", .symlink, to: long), content: nil)
        // Another name of the link, where it leads to: there it leads as far again.
        try layout.add(link("l/l", .hardlink, to: Array("l".utf8)), content: nil)
        #expect(throws: ArchiveError.self) {
            try layout.add(link("l/l/l", .hardlink, to: Array("l".utf8)), content: nil)
        }
    }

    @Test func `all forms of archives are read`() throws {
        let layers = try SnapshotDecoding.archives().map { try SnapshotDecoding.layer(ofArchive: $0) }
        let holes = layers.flatMap(\.entries).filter { $0.path == Array("holes".utf8) }
        let sizes = holes.map { entry -> Int64 in if case .file(let size, _) = entry.kind { size } else { -1 } }
        #expect(sizes == [140_005, 140_002, 140_002])
        // The same data at the same places.
        #expect(Set(holes.suffix(2).map(\.kind)).count == 1)
        let extended = try #require(layers.flatMap(\.entries).first(where: { $0.gid == .max }))
        #expect(extended.modified == FileTime(seconds: -2, nanoseconds: 750_000_000))
        #expect(extended.attributes.map(\.value) == [[0, 255], []])
    }

    @Test(arguments: UInt64(0)..<12)
    func `any change behind a right checksum gives a layer or an error`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for archive in try SnapshotDecoding.archives() {
            for _ in 0..<10 {
                var bytes = archive
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let start = Int.random(in: 0..<bytes.count, using: &random)
                    let value = [0, 0x7F, 0x80, 0xFF, UInt8.random(in: 0...255, using: &random)].randomElement(
                        using: &random)
                    let width = Int.random(in: 1...12, using: &random)
                    for index in start..<min(bytes.count, start + width) { bytes[index] = value ?? 0 }
                }
                SnapshotDecoding.mendChecksums(&bytes)
                guard let layer = try? SnapshotDecoding.layer(ofArchive: bytes) else { continue }
                #expect(try LayerManifest(decoding: layer.encoded()) == layer)
            }
        }
    }
}
