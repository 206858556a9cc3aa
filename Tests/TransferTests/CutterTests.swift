internal import ClusterModel
internal import OCI
internal import Testing

@testable internal import Transfer

private func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
}

private func cut(_ bytes: [UInt8], pieces: Int = .max) -> ChunkedContent {
    var cutter = ContentCutter(size: Int64(bytes.count))
    var rest = bytes[...]
    while !rest.isEmpty {
        rest.prefix(pieces).withUnsafeBytes { cutter.update($0) }
        rest = rest.dropFirst(pieces)
    }
    return cutter.finish()
}

@Suite struct CutterTests {
    @Test func `the gear table is as it was: ids are in caches of other nodes`() {
        #expect(FastCDC.gear.count == 256)
        let content = cut(bytes(300_000, seed: 1))
        #expect(content.pieces.map(\.length) == Self.known)
        #expect(content.digest.hex.prefix(16) == Self.knownDigest)
    }

    static let known: [Int64] = [46_056, 45_747, 89_516, 74_769, 43_912]
    static let knownDigest = "520c91600ac0f550"

    @Test(arguments: UInt64(0)..<8)
    func `how the bytes come does not matter`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var content: [UInt8] = []
        while content.count < 1 << 20 {
            let count = Int.random(in: 1...200_000, using: &random)
            content += Bool.random(using: &random) ? bytes(count, seed: seed &+ 7) : [UInt8](repeating: 0, count: count)
        }
        let whole = cut(content)
        #expect(cut(content, pieces: Int.random(in: 1_000...100_000, using: &random)) == whole)
        #expect(whole.pieces == cut(content, pieces: 65_536).pieces)
        // Zeros that are told instead of given.
        var cutter = ContentCutter(size: Int64(content.count))
        var start = 0
        while start < content.count {
            var end = start
            let isZero = content[start] == 0
            while end < content.count, (content[end] == 0) == isZero { end += 1 }
            if isZero {
                cutter.update(zeros: Int64(end - start))
            } else {
                content[start..<end].withUnsafeBytes { cutter.update($0) }
            }
            start = end
        }
        #expect(cutter.finish().pieces == whole.pieces)
        // The pieces are the bytes.
        var position = 0
        for piece in whole.pieces {
            let part = content[position..<position + Int(piece.length)]
            if let digest = piece.digest {
                #expect(Digest.of(part) == digest)
            } else {
                #expect(part.allSatisfy { $0 == 0 })
            }
            position += Int(piece.length)
        }
        #expect(position == content.count && whole.fault(size: Int64(content.count)) == nil)
    }

    @Test func `a small file is one chunk, also of zeros`() {
        #expect(cut([]) == .empty)
        #expect(cut([7]).digest == Digest.of([7]))
        let zeros = cut([UInt8](repeating: 0, count: 65_536))
        #expect(zeros.pieces.isEmpty && zeros.digest == Digest.of([UInt8](repeating: 0, count: 65_536)))
        #expect(cut([UInt8](repeating: 0, count: 65_537)).pieces == [.init(digest: nil, length: 65_537)])
    }

    @Test func `terabytes of hole cost nothing`() {
        var cutter = ContentCutter(size: 1 << 42)
        cutter.update(zeros: 1 << 41)
        cutter.update(zeros: 1 << 41)
        #expect(cutter.finish().pieces == [.init(digest: nil, length: 1 << 42)])
    }

    @Test func `chunks meet again behind an insertion`() {
        let old = bytes(4 << 20, seed: 3)
        let new = Array(old[..<1_000_000]) + [1, 2, 3] + Array(old[1_000_000...])
        let (before, after) = (cut(old), cut(new))
        let known = Set(before.pieces.map(\.digest))
        let fresh = after.pieces.filter { !known.contains($0.digest) }.reduce(0) { $0 + $1.length }
        #expect(fresh <= 2 * Int64(FastCDC.chunkBytesMax))
        let average = old.count / before.pieces.count
        #expect((48 << 10...96 << 10).contains(average), "\(average)")
    }
}
