internal import Glibc
internal import OCI
internal import Synchronization
internal import Transfer

/// A layer that comes from peers, in a directory of its own below `pulls`.
///
/// Chunks are stored where they belong, checked, in any order and from several threads. The directory outlives the
/// process: what is in it is hashed again when the pull goes on, so that a torn write is seen and nobody has to keep a
/// list of what is there.
final class PulledLayer: Sendable {
    let manifest: LayerManifest
    let table: ChunkTable
    /// Holds `layer/fs` and `layer/manifest`.
    let directory: String
    /// Entries whose metadata have been set, when their only chunk was stored.
    private let settled: Mutex<[Bool]>

    init(_ manifest: LayerManifest, in directory: String) throws(SnapshotError) {
        self.manifest = manifest
        self.directory = directory
        table = ChunkTable(manifest)
        settled = Mutex([Bool](repeating: false, count: manifest.entries.count))
        for path in [directory, directory + "/layer", directory + "/layer/fs"] { try makeDirectory(path) }
        var builder = try LayerMaterializer(manifest, at: directory + "/layer/fs")
        try builder.makeDirectories()
    }

    private var contentPath: String { directory + "/layer/fs" }

    // MARK: What is there

    /// Ordinals of the chunks that are here and right, at each of their places.
    func present() throws(SnapshotError) -> [Bool] {
        var places: [[(ordinal: Int, offset: Int64)]] = Array(repeating: [], count: manifest.entries.count)
        for ordinal in table.chunks.indices {
            for place in table.places(of: ordinal) { places[place.entry].append((ordinal, place.offset)) }
        }
        let files = places.indices.filter { !places[$0].isEmpty }
        let work = places
        let found = Mutex([Bool](repeating: true, count: table.chunks.count))
        try ParallelWork.forEach(files.count) { index throws(SnapshotError) in
            let missing = try self.missing(files[index], work[files[index]])
            guard !missing.isEmpty else { return }
            found.withLock { for ordinal in missing { $0[ordinal] = false } }
        }
        return found.withLock { $0 }
    }

    /// Which chunks of a file are not what they should be.
    private func missing(
        _ entry: Int, _ chunks: [(ordinal: Int, offset: Int64)]
    ) throws(SnapshotError) -> [Int] {
        guard case .file(let size, _) = manifest.entries[entry].kind else { return [] }
        let root = try FileDescriptor.directory(contentPath)
        let all = chunks.map(\.ordinal)
        let file: FileDescriptor
        do throws(SnapshotError) {
            file = try root.file(beneath: manifest.entries[entry].path, O_RDONLY | O_NONBLOCK)
        } catch { return all }
        var status = stat()
        guard fstat(file.raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return all }
        // One that is too short is filled up in the end; one that is too long is not ours.
        guard Int64(status.st_size) <= size, size > Int64(ChunkedContent.blockBytes) || Int64(status.st_size) == size
        else { return all }
        let longest = chunks.reduce(0) { max($0, table.chunks[$1.ordinal].length) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: longest, alignment: 64)
        defer { buffer.deallocate() }
        var missing: [Int] = []
        for (ordinal, offset) in chunks {
            let chunk = table.chunks[ordinal]
            let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<chunk.length])
            let isThere = try Self.fill(
                bytes, from: file, at: offset, size: Int64(status.st_size), manifest.entries[entry])
            if !isThere || Digest.of(UnsafeRawBufferPointer(bytes)) != chunk.digest { missing.append(ordinal) }
        }
        return missing
    }

    /// False when the file has a hole there, or ends: nothing has come for it.
    private static func fill(
        _ bytes: UnsafeMutableRawBufferPointer, from file: borrowing FileDescriptor, at offset: Int64, size: Int64,
        _ entry: LayerEntry
    ) throws(SnapshotError) -> Bool {
        guard offset + Int64(bytes.count) <= size else { return false }
        // A whole chunk in a hole has not come: a chunk has no block of zeros at its start.
        if bytes.count >= ChunkedContent.blockBytes {
            let data = try FileContent.nextData(of: file.raw, from: offset, size: size, entry.path)
            guard data.lowerBound < offset + Int64(bytes.count) else { return false }
        }
        var done = 0
        while done < bytes.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[done...])
            let count = try file.read(into: rest, at: offset + Int64(done), entry.displayPath)
            guard count > 0 else { return false }
            done += count
        }
        return true
    }

    // MARK: Storing

    /// Checks and stores the chunks of `ranges`, whose bytes are one behind the other.
    ///
    /// - Returns: the first ordinal whose bytes are not the chunk's; nil when all are right. Those before it are stored.
    func store(_ ranges: [Range<Int>], _ bytes: UnsafeRawBufferPointer) throws(SnapshotError) -> Int? {
        var writer = try ChunkWriter(manifest, at: contentPath)
        var position = 0
        for ordinal in ranges.joined() {
            let chunk = table.chunks[ordinal]
            let piece = UnsafeRawBufferPointer(rebasing: bytes[position..<position + chunk.length])
            guard Digest.of(piece) == chunk.digest else { return ordinal }
            for place in table.places(of: ordinal) where try writer.write(piece, at: place) {
                settled.withLock { $0[place.entry] = true }
            }
            position += chunk.length
        }
        return nil
    }

    /// Makes all that has no content of its own and sets all metadata; every chunk is stored.
    func finish() throws(SnapshotError) {
        let done = settled.withLock { $0 }
        var builder = try LayerMaterializer(manifest, at: contentPath)
        for entry in manifest.entries {
            guard case .file(let size, let content) = entry.kind, size == 0 || !content.pieces.isEmpty else { continue }
            let file = try builder.openFile(entry)
            guard ftruncate(file.raw, off_t(size)) == 0 else { throw .last("ftruncate", entry.displayPath) }
        }
        try builder.finish { done[$0] }
    }

    func remove() { removeTree(directory) }
}

/// Writes chunks into the files of a layer that is being pulled, best in the layer's order.
private struct ChunkWriter: ~Copyable {
    private let manifest: LayerManifest
    private var builder: LayerMaterializer
    private var file: (entry: Int, descriptor: Int32)?

    init(_ manifest: LayerManifest, at path: String) throws(SnapshotError) {
        self.manifest = manifest
        builder = try LayerMaterializer(manifest, at: path)
    }

    deinit { if let file { close(file.descriptor) } }

    /// Returns whether the file is whole now, metadata included.
    mutating func write(_ bytes: UnsafeRawBufferPointer, at place: ChunkTable.Place) throws(SnapshotError) -> Bool {
        let entry = manifest.entries[place.entry]
        if file?.entry != place.entry {
            if let file { close(file.descriptor) }
            file = nil
            file = (place.entry, try builder.openFile(entry).release())
        }
        guard let descriptor = file?.descriptor else { return false }
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done, off_t(place.offset) + done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .last("pwrite", entry.displayPath) }
            done += count
        }
        guard case .file(let size, let content) = entry.kind, content.pieces.isEmpty else { return false }
        // What a damaged layer had behind it.
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw .last("ftruncate", entry.displayPath) }
        try builder.setMetadata(of: entry)
        return true
    }
}
