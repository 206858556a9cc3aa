package import ClusterModel
package import ContentStore
internal import Dispatch
internal import Glibc
package import OCI
internal import Transfer

extension SnapshotStore {
    /// More than any image layer has; a bomb ends here, and its zeros take no disk before.
    package static let archiveBytesMax: Int64 = 256 << 30

    /// Makes a layer of an OCI layer archive: tar, plain or compressed with gzip or zstd, `.wh.` names as deletions.
    ///
    /// - Parameters:
    ///   - tar: the archive; its compression is seen from its first bytes.
    ///   - chain: the layers below. Parents that the archive leaves out look as they do there, and hard links may name
    ///     files of it.
    ///   - diffID: digest of the uncompressed archive, when known: the import fails if it is another.
    ///   - blob: what the layer is remembered to come from.
    /// - Returns: the layer, durable, with its `diffID`.
    /// - Throws: `ArchiveError` when the archive is bad or hostile, `SnapshotError` when the disk refuses.
    package func importLayer(
        tar: any ByteSource, over chain: LayerChain = .scratch, diffID: Digest? = nil, blob: Descriptor? = nil
    ) async throws -> LayerDescriptor {
        try await offPool { [self] in try importTar(tar, over: chain, diffID: diffID, blob: blob) }
    }

    private func importTar(
        _ tar: any ByteSource, over chain: LayerChain, diffID: Digest?, blob: Descriptor?
    ) throws -> LayerDescriptor {
        let pinned = chain.layers.map(\.id)
        try pin(pinned)
        defer { unpin(pinned) }
        let staging = try makeStaging()
        defer { removeTree(staging) }
        let stream = ArchiveStream(tar, maximum: Self.archiveBytesMax)
        var layout = ArchiveLayout(over: try tree(of: chain))
        try layout.read(stream) { member, reader, number in
            try write(member, from: &reader, to: staging + "/data/\(number)")
        }
        let actual = try stream.finish()
        if let diffID, diffID != actual { throw ArchiveError.wrongDiffID(expected: diffID, actual: actual) }
        let manifest = try layout.finish()
        if !contains(manifest.id) {
            var builder = try LayerMaterializer(manifest, at: staging + "/layer/fs")
            try builder.makeDirectories()
            for (path, content) in layout.contents {
                guard let entry = manifest.entry(at: path), case .file(let size, _) = entry.kind else { continue }
                switch content {
                case .data(let number): try builder.place(staging + "/data/\(number)", as: entry)
                case .lower(let layer, let source):
                    let lower = try FileDescriptor.directory(contentPath(of: layer))
                    let from = try lower.file(beneath: source, O_RDONLY)
                    try FileContent.copy(from: from, to: builder.makeFile(entry), size: size, path)
                }
            }
            try builder.finish()
            try seal(staging + "/layer", as: manifest)
        }
        return LayerDescriptor(id: manifest.id, bytes: manifest.contentBytes, diffID: actual, blob: blob)
    }

    /// Writes a member's content to a file of its own, and cuts and hashes it on the way.
    private func write(_ member: TarEntry, from reader: inout TarReader, to path: String) throws -> ChunkedContent {
        let file = try FileDescriptor.open(path, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
        let raw = file.raw
        var writer = SparseWriter()
        var cutter = ContentCutter(size: member.size)
        var position: Int64 = 0
        try reader.content(of: member) { piece, offset in
            cutter.update(zeros: offset - position)
            cutter.update(piece)
            try writer.write(piece, at: offset, to: raw, path)
            position = offset + Int64(piece.count)
        }
        cutter.update(zeros: member.size - position)
        try writer.finish(size: member.size, raw, path)
        return cutter.finish()
    }
}

/// Runs blocking work on a thread of its own, so that it does not hold up the tasks of the whole process.
func offPool<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async { continuation.resume(with: Result { try body() }) }
    }
}
