internal import OCI
internal import Transfer

/// Chunks of earlier versions of files: what missing chunks of the same paths were before they changed.
///
/// The layers that gave most of what did not have to travel are taken for the earlier version.
struct OldVersions: Sendable {
    /// More would be read for little: a layer has one predecessor as a rule, and an image's base may be another.
    private static let layersMax = 2
    /// How far a chunk may have moved within its file.
    private static let shiftMax: Int64 = 1 << 20

    /// A chunk of an old version.
    struct Source: Sendable {
        var layer: Digest
        var place: ChunkTable.Place
        var length: Int
    }

    /// Layers that are read here; the caller has pinned them.
    let layers: [Digest]
    private let manifests: [Digest: LayerManifest]
    /// What the new version has unchanged: no missing chunk was made of it.
    private let unchanged: Set<Digest>

    /// `local` is what was found of the layer's chunks in layers of this node.
    init(_ local: LocalChunks, of table: ChunkTable, in store: SnapshotStore) {
        var bytes: [Digest: Int] = [:]
        for source in local.sources { bytes[source.layer, default: 0] += table.chunks[source.ordinal].length }
        let most = bytes.sorted { ($0.value, $1.key) > ($1.value, $0.key) }.prefix(Self.layersMax).map(\.key)
        var manifests: [Digest: LayerManifest] = [:]
        for layer in most { manifests[layer] = try? store.manifest(of: layer) }
        self.manifests = manifests
        layers = most.filter { manifests[$0] != nil }
        unchanged = layers.isEmpty ? [] : Set(table.chunks.map(\.digest))
    }

    /// Old chunks that were where the `chunks` of one file, in its order, are now, near them at least.
    func sources(of chunks: ArraySlice<ChunkTable.Chunk>, at path: [UInt8]) -> [Source] {
        guard let first = chunks.first, let last = chunks.last else { return [] }
        let low = first.place.offset - Self.shiftMax
        let high = last.place.offset + Int64(last.length) + Self.shiftMax
        var sources: [Source] = []
        for layer in layers {
            guard let manifest = manifests[layer], case let entry = manifest.lowerBound(of: path),
                entry < manifest.entries.count, manifest.entries[entry].path == path,
                case .file(let size, let content) = manifest.entries[entry].kind
            else { continue }
            content.forEachChunk(size: size) { _, offset, length, digest in
                guard offset < high, offset + Int64(length) > low, !unchanged.contains(digest) else { return }
                let place = ChunkTable.Place(entry: entry, offset: offset)
                sources.append(Source(layer: layer, place: place, length: length))
            }
        }
        return sources
    }

    /// The pieces of old chunks, as far as they can be read.
    func pieces(of sources: [Source], in store: SnapshotStore) -> KnownPieces {
        var known = KnownPieces()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: FastCDC.chunkBytesMax, alignment: 64)
        defer { buffer.deallocate() }
        for layer in layers {
            guard let manifest = manifests[layer],
                var reader = try? ChunkReader(manifest, at: store.contentPath(of: layer))
            else { continue }
            for source in sources where source.layer == layer {
                let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<source.length])
                do throws(SnapshotError) { try reader.read(into: bytes, from: source.place) } catch { continue }
                known.add(UnsafeRawBufferPointer(bytes))
            }
        }
        return known
    }
}
