internal import Glibc
internal import OCI
internal import Synchronization
internal import Transfer

/// Chunks that a layer lacks and other layers of this node have.
struct LocalChunks: Sendable {
    struct Source: Sendable {
        var ordinal: Int
        var layer: Digest
        var place: ChunkTable.Place
    }

    /// In the order of layers and files, so that neighbours are read together.
    let sources: [Source]

    /// Looks in every layer's index for the chunks of `table` that `isMissing`.
    init(_ table: ChunkTable, isMissing: [Bool], in store: SnapshotStore) throws {
        var wanted = table.chunks.indices.filter { isMissing[$0] }
            .map { (key: ChunkIndexFile.key(table.chunks[$0].digest), ordinal: $0) }.sorted { $0.key < $1.key }
        var sources: [Source] = []
        for layer in try store.list() {
            guard !wanted.isEmpty else { break }
            var found: Set<Int> = []
            ChunkIndexFile.search(store.layerPath(layer) + "/chunks", keys: wanted.map(\.key)) { position, record in
                let ordinal = wanted[position].ordinal
                guard Int(record.length) == table.chunks[ordinal].length else { return }
                found.insert(ordinal)
                let place = ChunkTable.Place(entry: Int(record.entry), offset: Int64(clamping: record.offset))
                sources.append(Source(ordinal: ordinal, layer: layer, place: place))
            }
            if !found.isEmpty { wanted.removeAll { found.contains($0.ordinal) } }
        }
        self.sources = sources.sorted { left, right in
            left.layer == right.layer
                ? (left.place.entry, left.place.offset) < (right.place.entry, right.place.offset)
                : left.layer < right.layer
        }
    }

    /// Copies the chunks into `target`, as far as they are what they should be.
    ///
    /// - Returns: the ordinals that are stored now, and the bytes of all of them.
    func copy(
        to target: PulledLayer, in store: SnapshotStore
    ) throws(SnapshotError) -> (ordinals: [Int], bytes: Int64) {
        var batches: [ArraySlice<Source>] = []
        var start = 0
        // As large as a pack, and of one layer.
        var bytes = 0
        for index in sources.indices {
            let length = target.table.chunks[sources[index].ordinal].length
            if index > start,
                sources[index].layer != sources[start].layer
                    || bytes + length > TransferMessage.packBytesMax
            {
                batches.append(sources[start..<index])
                (start, bytes) = (index, 0)
            }
            bytes += length
        }
        if start < sources.count { batches.append(sources[start...]) }
        let work = batches
        let done = Mutex([Int]())
        try ParallelWork.forEach(work.count) { index throws(SnapshotError) in
            let copied = try Self.copy(work[index], to: target, in: store)
            done.withLock { $0 += copied }
        }
        let ordinals = done.withLock { $0 }
        return (ordinals, ordinals.reduce(0) { $0 + Int64(target.table.chunks[$1].length) })
    }

    private static func copy(
        _ sources: ArraySlice<Source>, to target: PulledLayer, in store: SnapshotStore
    ) throws(SnapshotError) -> [Int] {
        guard let layer = sources.first?.layer, let manifest = try? store.manifest(of: layer),
            var reader = try? ChunkReader(manifest, at: store.contentPath(of: layer))
        else { return [] }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: FastCDC.chunkBytesMax, alignment: 64)
        defer { buffer.deallocate() }
        var copied: [Int] = []
        for source in sources where source.place.entry < manifest.entries.count {
            let length = target.table.chunks[source.ordinal].length
            let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<length])
            // A hint that is wrong, or a damaged file: the chunk is pulled like any other.
            do throws(SnapshotError) { try reader.read(into: bytes, from: source.place) } catch { continue }
            let ordinal = source.ordinal
            if try target.store(ordinal, UnsafeRawBufferPointer(bytes)) { copied.append(ordinal) }
        }
        return copied
    }
}
