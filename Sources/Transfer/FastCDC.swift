internal import ClusterModel

/// Content-defined chunking with a gear hash and normalised chunk sizes (Xia et al., "FastCDC", USENIX ATC 2016).
///
/// What follows an insertion is cut as before it, so that a changed file shares its other chunks with the old one. The
/// hash is `h' = 2h + gear[byte]`, so that its upper bits depend on the last 64 bytes; a chunk ends behind a byte where
/// the uppermost `bits` of them are zero, with two more bits before the average size and two fewer behind it (§3.4,
/// "NC level 2"). These numbers are part of the layer format: other ones would give other layer ids.
package enum FastCDC {
    /// Cut points nearer than this are skipped, unhashed.
    package static let chunkBytesMin = 16 << 10
    /// A trade between two costs, for which other sizes were not measured.
    ///
    /// Smaller chunks cost more digests and index, larger ones send more of a layer in which scattered bytes changed.
    package static let chunkBytesAverage = 64 << 10
    package static let chunkBytesMax = 256 << 10

    private static let averageBits: UInt64 = 16
    private static let smallMask = ~UInt64(0) << (64 - (averageBits + 2))
    private static let largeMask = ~UInt64(0) << (64 - (averageBits - 2))

    /// `gear[i]` is number i of SplitMix64 from the seed 0x5065_6572_4275_696C, "PeerBuil".
    static let gear: [UInt64] = {
        var random = SplitMix64(seed: 0x5065_6572_4275_696C)
        return (0..<256).map { _ in random.next() }
    }()

    /// The length of the first chunk of `bytes`, which are not empty.
    ///
    /// With `chunkBytesMax` bytes or more the answer does not depend on what follows.
    package static func firstChunk(of bytes: UnsafeRawBufferPointer) -> Int {
        let end = min(bytes.count, chunkBytesMax)
        guard end > chunkBytesMin, let base = bytes.baseAddress else { return end }
        return gear.withUnsafeBufferPointer { gear in
            guard let table = gear.baseAddress else { return end }
            var hash: UInt64 = 0
            var index = chunkBytesMin
            let normal = min(end, chunkBytesAverage)
            while index < normal {
                hash = hash &<< 1 &+ table[Int(base.load(fromByteOffset: index, as: UInt8.self))]
                index &+= 1
                if hash & smallMask == 0 { return index }
            }
            while index < end {
                hash = hash &<< 1 &+ table[Int(base.load(fromByteOffset: index, as: UInt8.self))]
                index &+= 1
                if hash & largeMask == 0 { return index }
            }
            return end
        }
    }
}
