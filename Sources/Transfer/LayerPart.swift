package import OCI

/// A part of a layer as a layer of its own: the entries that a footprint needs, under their own name.
///
/// Its chunks are some of the whole layer's, so that a holder of the whole serves it without knowing of parts: the puller
/// asks with the whole layer's ordinals. It has its own manifest and id, which what comes is checked against; it is never
/// taken for the whole.
package struct LayerPart: Sendable {
    package let whole: Digest
    package let manifest: LayerManifest
    /// Bytes of the whole layer's content that the part does without.
    package let leftOutBytes: Int64
    /// The whole layer's chunks.
    package let wholeTable: ChunkTable
    /// The whole layer's ordinal of each chunk of the part.
    private let wholeOrdinals: [Int]
    private let ownOrdinals: [Int: Int]

    /// The footprint must be of a tree with this layer.
    package init(of whole: LayerManifest, _ footprint: TreeFootprint) throws(ManifestError) {
        self.whole = whole.id
        manifest = try LayerManifest(entries: whole.entries.filter(footprint.includes))
        leftOutBytes = whole.contentBytes - manifest.contentBytes
        wholeTable = ChunkTable(whole)
        var known: [ChunkTable.Key: Int] = [:]
        for (ordinal, chunk) in wholeTable.chunks.enumerated() { known[chunk.key] = ordinal }
        let own = ChunkTable(manifest)
        wholeOrdinals = own.chunks.compactMap { known[$0.key] }
        ownOrdinals = Dictionary(wholeOrdinals.enumerated().map { ($1, $0) }) { first, _ in first }
    }

    /// The whole layer's ordinals of chunks of the part, rising.
    package func ordinalsOfWhole(_ ordinals: [Int]) -> [Int] { ordinals.map { wholeOrdinals[$0] }.sorted() }

    /// The part's ordinals of chunks that were asked for, in the same order.
    package func ownRanges(_ ranges: [Range<Int>]) -> [Range<Int>] {
        var own: [Range<Int>] = []
        for ordinal in ranges.joined() {
            guard let next = ownOrdinals[ordinal] else { continue }
            if let last = own.last, last.upperBound == next {
                own[own.count - 1] = last.lowerBound..<next + 1
            } else {
                own.append(next..<next + 1)
            }
        }
        return own
    }
}
