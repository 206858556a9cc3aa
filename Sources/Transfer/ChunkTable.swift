package import OCI

/// The distinct chunks of a layer in the order in which its files first have them, and where they belong.
///
/// A chunk's position in this order, its ordinal, is how puller and holder name it: both derive the table from the
/// manifest.
package struct ChunkTable: Sendable {
    /// Where bytes of a chunk stand in the layer.
    package struct Place: Sendable, Hashable {
        /// Index in the manifest.
        package let entry: Int
        package let offset: Int64

        package init(entry: Int, offset: Int64) {
            self.entry = entry
            self.offset = offset
        }
    }

    /// What makes two chunks one.
    ///
    /// A hostile manifest may give one digest several lengths: these are as many chunks, of which one can come at most.
    struct Key: Hashable {
        let digest: Digest
        let length: Int
    }

    package struct Chunk: Sendable {
        package let digest: Digest
        package let length: Int
        /// The first of its places.
        package let place: Place

        var key: Key { Key(digest: digest, length: length) }
    }

    package let chunks: [Chunk]
    /// Bytes of all distinct chunks.
    package let bytes: Int64
    /// Places beyond the first, by ordinal.
    private let more: [Int: [Place]]

    package init(_ manifest: LayerManifest) {
        var chunks: [Chunk] = []
        var more: [Int: [Place]] = [:]
        var ordinals: [Key: Int] = [:]
        var bytes: Int64 = 0
        for (entry, value) in manifest.entries.enumerated() {
            guard case .file(let size, let content) = value.kind else { continue }
            content.forEachChunk(size: size) { _, offset, length, digest in
                let place = Place(entry: entry, offset: offset)
                let key = Key(digest: digest, length: length)
                if let known = ordinals[key] {
                    more[known, default: []].append(place)
                } else {
                    ordinals[key] = chunks.count
                    chunks.append(Chunk(digest: digest, length: length, place: place))
                    bytes += Int64(length)
                }
            }
        }
        self.chunks = chunks
        self.more = more
        self.bytes = bytes
    }

    /// All places of a chunk, first one first.
    package func places(of ordinal: Int) -> [Place] { [chunks[ordinal].place] + (more[ordinal] ?? []) }
}
