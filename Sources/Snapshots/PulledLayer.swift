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
    /// Nothing of it was here before: whatever has a name was made by this object.
    let isFresh: Bool
    /// Entries whose metadata have been set, when their only chunk was stored.
    private let settled: Mutex<[Bool]>

    init(_ manifest: LayerManifest, in directory: String) throws(SnapshotError) {
        self.manifest = manifest
        self.directory = directory
        table = ChunkTable(manifest)
        settled = Mutex([Bool](repeating: false, count: manifest.entries.count))
        isFresh = access(directory + "/layer/fs", F_OK) != 0
        for path in [directory, directory + "/layer", directory + "/layer/fs"] { try makeDirectory(path) }
        var builder = try LayerMaterializer(manifest, at: directory + "/layer/fs")
        try builder.makeDirectories()
    }

    private var contentPath: String { directory + "/layer/fs" }

    // MARK: What is there

    /// Ordinals of the chunks that are here and right, at each of their places.
    func present() throws(SnapshotError) -> [Bool] {
        guard !isFresh else { return [Bool](repeating: false, count: table.chunks.count) }
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

    /// Checks and stores the chunks of `ranges`, whose bytes are one behind the other in `parts`.
    ///
    /// - Returns: the first ordinal whose bytes are not the chunk's; nil when all are right. Those before it are stored.
    func store(_ ranges: [Range<Int>], _ parts: [ArraySlice<UInt8>]) throws(SnapshotError) -> Int? {
        var storing = try ChunkStoring(self, ranges)
        for part in parts {
            let taken = part.withUnsafeBytes { bytes in
                Result { () throws(SnapshotError) in try storing.take(bytes) }
            }
            if let wrong = try taken.get() { return wrong }
        }
        return nil
    }

    /// Checks and stores one chunk.
    ///
    /// - Returns: whether the bytes are the chunk's.
    func store(_ ordinal: Int, _ bytes: UnsafeRawBufferPointer) throws(SnapshotError) -> Bool {
        var storing = try ChunkStoring(self, [ordinal..<ordinal + 1])
        return try storing.take(bytes) == nil
    }

    /// Chunks on their way into the files.
    private struct ChunkStoring: ~Copyable {
        private let target: PulledLayer
        private let ordinals: [Int]
        private var writer: ChunkWriter
        private var index = 0
        /// Bytes of the chunk that have come in earlier parts, and their hash.
        private var done = 0
        private var hasher = DigestHasher()

        init(_ target: PulledLayer, _ ranges: [Range<Int>]) throws(SnapshotError) {
            self.target = target
            ordinals = Array(ranges.joined())
            writer = try ChunkWriter(target.manifest, at: target.contentPath, isFresh: target.isFresh)
        }

        /// Takes the next bytes; returns the ordinal of a chunk that they are not.
        ///
        /// A chunk that ends in a later part is written before it is known to be right: nothing counts before its end.
        mutating func take(_ bytes: UnsafeRawBufferPointer) throws(SnapshotError) -> Int? {
            var position = 0
            while position < bytes.count, index < ordinals.count {
                let chunk = target.table.chunks[ordinals[index]]
                let count = min(chunk.length - done, bytes.count - position)
                let piece = UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
                let isWhole = done + count == chunk.length
                if let digest = digest(with: piece, isWhole), digest != chunk.digest { return ordinals[index] }
                for place in target.table.places(of: ordinals[index]) {
                    try writer.write(piece, at: place, Int64(done))
                    if isWhole, try writer.complete(place) { target.settled.withLock { $0[place.entry] = true } }
                }
                position += count
                done = isWhole ? 0 : done + count
                index += isWhole ? 1 : 0
            }
            return nil
        }

        private mutating func digest(with piece: UnsafeRawBufferPointer, _ isWhole: Bool) -> Digest? {
            if isWhole, done == 0 { return Digest.of(piece) }
            hasher.update(piece)
            guard isWhole else { return nil }
            defer { hasher = DigestHasher() }
            return hasher.finish()
        }
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
    private let isFresh: Bool
    private var builder: LayerMaterializer
    private var file: (entry: Int, descriptor: Int32)?

    init(_ manifest: LayerManifest, at path: String, isFresh: Bool) throws(SnapshotError) {
        self.manifest = manifest
        self.isFresh = isFresh
        builder = try LayerMaterializer(manifest, at: path)
    }

    deinit { if let file { close(file.descriptor) } }

    /// Writes a piece of the chunk at `place`, `offset` bytes behind its start.
    mutating func write(
        _ bytes: UnsafeRawBufferPointer, at place: ChunkTable.Place, _ offset: Int64
    ) throws(SnapshotError) {
        let descriptor = try open(place.entry)
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done,
                off_t(place.offset + offset) + done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .last("pwrite", manifest.entries[place.entry].displayPath) }
            done += count
        }
    }

    /// The chunk at `place` is written and right; returns whether its file is whole now, metadata included.
    mutating func complete(_ place: ChunkTable.Place) throws(SnapshotError) -> Bool {
        let entry = manifest.entries[place.entry]
        guard case .file(let size, let content) = entry.kind, content.pieces.isEmpty else { return false }
        let descriptor = try open(place.entry)
        // What a damaged layer had behind it.
        if !isFresh, ftruncate(descriptor, off_t(size)) != 0 { throw .last("ftruncate", entry.displayPath) }
        try LayerMaterializer.setMetadata(of: entry, on: descriptor, isOurs: isFresh)
        return true
    }

    private mutating func open(_ entry: Int) throws(SnapshotError) -> Int32 {
        if let file, file.entry == entry { return file.descriptor }
        if let file { close(file.descriptor) }
        file = nil
        let descriptor = try builder.openFile(manifest.entries[entry]).release()
        file = (entry, descriptor)
        return descriptor
    }
}
