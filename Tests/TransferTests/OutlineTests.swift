internal import ClusterModel
internal import OCI
internal import Testing
internal import Transfer

/// Chunks that changed in some places, put together of what an old version has and what comes.
@Suite struct OutlineTests {
    private func noise(_ count: Int, seed: UInt64) -> [UInt8] {
        var random = SplitMix64(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private func pieces(of bytes: [UInt8]) -> [ChunkOutline.Piece] {
        bytes.withUnsafeBytes { ChunkOutline.pieces(of: $0) }
    }

    @Test(arguments: UInt64(0)..<8)
    func `a chunk with a stretch changed, left out or added needs little more than that`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed &+ 1_000)
        let old = noise(150_000 + Int(random.next() % 100_000), seed: seed)
        let at = Int(random.next() % 100_000)
        let stretch = noise(4_096, seed: seed &+ 99)
        let other = noise(80_000, seed: seed &+ 7)
        var known = KnownPieces()
        other.withUnsafeBytes { known.add($0) }
        old.withUnsafeBytes { known.add($0) }
        let (head, tail) = (Array(old[..<at]), Array(old[at...]))
        let rest = Array(tail.dropFirst(4_096))
        let versions: [[UInt8]] = [head + stretch + rest, head + rest, head + stretch + tail]
        for new in versions {
            let outline = pieces(of: new)
            #expect(outline.reduce(0) { $0 + $1.length } == new.count)
            let sizes = ChunkOutline.pieceBytesMin...ChunkOutline.pieceBytesMax
            #expect(outline.dropLast().allSatisfy { sizes.contains($0.length) })
            let both = outline + pieces(of: other)
            let merge = try ChunkMerge(both, chunkLengths: [new.count, other.count], known: known)
            #expect(merge.wantedBytes < 4_096 + 3 * ChunkOutline.pieceBytesMax, "\(merge.wanted)")
            let lengths = both.map(\.length)
            let stretches = try ServedChunks.stretches(of: merge.wanted, lengths: lengths)
            let all = new + other
            #expect(merge.chunks(with: stretches.flatMap { all[$0] }) == [new, other])
        }
    }

    @Test func `an outline of another length than the chunks is refused, and too few bytes give no chunk`() throws {
        let piece = ChunkOutline.Piece(length: 600, key: 1)
        let known = KnownPieces()
        for (pieces, lengths) in [
            ([piece], [500]), ([piece], [700]), ([piece, piece], [600]), ([], [1]),
            ([piece, .init(length: 0, key: 2)], [601]),
        ] {
            #expect(throws: TransferError.self) { try ChunkMerge(pieces, chunkLengths: lengths, known: known) }
        }
        let merge = try ChunkMerge([piece, piece], chunkLengths: [1_200], known: known)
        #expect(merge.wanted == [0..<2] && merge.wantedBytes == 1_200)
        #expect(merge.chunks(with: [1, 2, 3]) == [[1, 2, 3]])
    }

    @Test func `a holder tells nothing of small chunks and gives no pieces that are not there`() throws {
        func file(_ name: UInt8, _ size: Int) -> LayerEntry {
            let content = [UInt8](repeating: name, count: size)
            return LayerEntry(
                path: [name], mode: 0o644,
                kind: .file(size: Int64(size), content: ChunkedContent(whole: Digest.of(content))))
        }
        let served = ServedChunks(try LayerManifest(entries: [file(97, 5_000), file(98, 4_095)]))
        #expect(try served.outlined([0..<1]).map(\.length) == [5_000])
        #expect(throws: TransferError.self) { try served.outlined([0..<2]) }
        #expect(throws: TransferError.self) { try served.outlined([0..<3]) }
        #expect(try ServedChunks.stretches(of: [0..<1, 2..<4], lengths: [5, 6, 7, 8]) == [0..<5, 11..<26])
        for ranges in [[], [0..<5], [1..<2, 0..<1], [0..<2, 1..<3], [2..<2]] {
            #expect(throws: TransferError.self) { try ServedChunks.stretches(of: ranges, lengths: [5, 6, 7, 8]) }
        }
    }
}
