/// The holder's side of a pull: checks what a peer wants.
package struct ServedChunks: Sendable {
    package let manifest: LayerManifest
    package let table: ChunkTable

    package init(_ manifest: LayerManifest) {
        self.manifest = manifest
        table = ChunkTable(manifest)
    }

    /// The chunks that a want list names, in order.
    ///
    /// - Throws: `TransferError` when it is out of order, names what is not there, or is more than a pack.
    package func wanted(_ ranges: [Range<Int>]) throws(TransferError) -> [ChunkTable.Chunk] {
        var chunks: [ChunkTable.Chunk] = []
        var bytes = 0
        var position = 0
        for range in ranges {
            guard !range.isEmpty, range.lowerBound >= position, range.upperBound <= table.chunks.count else {
                throw .malformedMessage("a want list with chunks \(range) of \(table.chunks.count)")
            }
            position = range.upperBound
            for chunk in table.chunks[range] {
                bytes += chunk.length
                guard bytes <= TransferMessage.packBytesMax else {
                    throw .malformedMessage("a want list of more than \(TransferMessage.packBytesMax) bytes")
                }
                chunks.append(chunk)
            }
        }
        guard !chunks.isEmpty else { throw .malformedMessage("an empty want list") }
        return chunks
    }

    /// The chunks that an outline is asked of.
    ///
    /// - Throws: `TransferError` as for `wanted`, and for a chunk that has no outline.
    package func outlined(_ ranges: [Range<Int>]) throws(TransferError) -> [ChunkTable.Chunk] {
        let chunks = try wanted(ranges)
        guard chunks.allSatisfy({ $0.length >= ChunkOutline.chunkBytesMin }) else {
            throw .malformedMessage("an outline of a chunk below \(ChunkOutline.chunkBytesMin) bytes was asked for")
        }
        return chunks
    }

    /// The stretches of bytes that the pieces in `ranges` are, of all pieces' `lengths`.
    package static func stretches(
        of ranges: [Range<Int>], lengths: [Int]
    ) throws(TransferError) -> [Range<Int>] {
        var stretches: [Range<Int>] = []
        var (next, start) = (0, 0)
        for range in ranges {
            guard !range.isEmpty, range.lowerBound >= next, range.upperBound <= lengths.count else {
                throw .malformedMessage("a want list with pieces \(range) of \(lengths.count)")
            }
            start += lengths[next..<range.lowerBound].reduce(0, +)
            let end = start + lengths[range].reduce(0, +)
            stretches.append(start..<end)
            (next, start) = (range.upperBound, end)
        }
        guard !stretches.isEmpty else { throw .malformedMessage("an empty want list") }
        return stretches
    }
}
