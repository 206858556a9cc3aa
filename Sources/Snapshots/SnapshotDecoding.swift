internal import ContentStore
internal import Synchronization
package import Transfer

/// The decoders of layer archives and packs for whoever tests them with bytes of any kind.
package enum SnapshotDecoding {
    /// Longest archive when decompressed: a fuzzer has no time for bombs.
    private static let archiveBytesMax: Int64 = 16 << 20

    /// Lower layers with what a member's parents may lead through.
    private static let lower: MergedTree = {
        let below = [
            LayerEntry(path: Array("usr".utf8), mode: 0o755, kind: .directory(isOpaque: false)),
            LayerEntry(path: Array("lib".utf8), mode: 0o777, kind: .symlink(target: Array("usr".utf8))),
        ]
        return (try? LayerManifest(entries: below)).map { MergedTree(layers: [$0]) } ?? MergedTree()
    }()

    /// Reads an archive as an import does, without a disk, and writes the headers of what it holds.
    ///
    /// - Throws: `ArchiveError` or `SnapshotError` for an archive that makes no layer.
    package static func layer(ofArchive bytes: [UInt8]) throws -> LayerManifest {
        let stream = ArchiveStream(ArchiveBytes(bytes), maximum: archiveBytesMax)
        var layout = ArchiveLayout(over: lower)
        try layout.read(stream) { member, reader, _ in try chunks(of: member, from: &reader) }
        _ = try stream.finish()
        let manifest = try layout.finish()
        for entry in manifest.entries {
            var size: Int64 = 0
            if case .file(let bytes, _) = entry.kind { size = bytes }
            _ = TarWriter.header(entry, name: entry.path, type: TarEntry.Kind.file.rawValue, size: size)
        }
        return manifest
    }

    private static func chunks(of member: TarEntry, from reader: inout TarReader) throws -> ChunkedContent {
        var cutter = ContentCutter(size: member.size)
        var position: Int64 = 0
        try reader.content(of: member) { piece, offset in
            cutter.update(zeros: offset - position)
            cutter.update(piece)
            position = offset + Int64(piece.count)
        }
        cutter.update(zeros: member.size - position)
        return cutter.finish()
    }

    /// Gives every header in `bytes` the checksum that it should have, so that what is behind it is read.
    package static func mendChecksums(_ bytes: inout [UInt8]) {
        let block = TarReader.blockBytes
        for start in stride(from: 0, to: bytes.count / block * block, by: block)
        where bytes[(start + 257)..<(start + 262)].elementsEqual(Array("ustar".utf8)) {
            let field = (start + 148)..<(start + 156)
            var sum = 0
            for index in start..<start + block { sum += field.contains(index) ? 32 : Int(bytes[index]) }
            let digits = String(sum, radix: 8)
            let text = String(repeating: "0", count: 6 - digits.utf8.count) + digits
            bytes.replaceSubrange(field, with: Array(text.utf8) + [0, 32])
        }
    }

    /// The bytes of a pack that has come whole.
    ///
    /// - Throws: `TransferError` when they do not decompress to as many as the pack says.
    package static func plainBytes(of pack: ReceivedPack) throws(TransferError) -> [UInt8] {
        ReceivedPack.inOnePiece(try pack.plainParts())
    }

    /// One zstd frame of `plain`; empty for bytes that do not get shorter.
    package static func frame(of plain: [UInt8]) throws -> [UInt8] {
        try ZstdCoder().encode(
            plain.count, level: 3, fill: { $0.copyBytes(from: plain) },
            use: { _, frame -> [UInt8] in frame.map { [UInt8]($0) } ?? [] })
    }
}

/// An archive in memory, read once.
final class ArchiveBytes: ByteSource {
    private let rest: Mutex<ArraySlice<UInt8>>

    init(_ bytes: [UInt8]) { rest = Mutex(bytes[...]) }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        rest.withLock { rest in
            let count = min(rest.count, buffer.count)
            buffer.copyBytes(from: rest.prefix(count))
            rest = rest.dropFirst(count)
            return count
        }
    }
}
