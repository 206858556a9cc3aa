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

    /// Where one cuts: how long chunks are.
    struct Sizes: Sendable {
        let minimum: Int
        let average: Int
        let maximum: Int
        let smallMask: UInt64
        let largeMask: UInt64

        /// `average` is a power of two.
        init(minimum: Int, average: Int, maximum: Int) {
            let bits = UInt64(average.trailingZeroBitCount)
            self.minimum = minimum
            self.average = average
            self.maximum = maximum
            smallMask = ~UInt64(0) << (64 - (bits + 2))
            largeMask = ~UInt64(0) << (64 - (bits - 2))
        }
    }

    private static let chunkSizes = Sizes(
        minimum: chunkBytesMin, average: chunkBytesAverage, maximum: chunkBytesMax)

    /// `gear[i]` is number i of SplitMix64 from the seed 0x5065_6572_4275_696C, "PeerBuil".
    static let gear: [UInt64] = {
        var random = SplitMix64(seed: 0x5065_6572_4275_696C)
        return (0..<256).map { _ in random.next() }
    }()

    /// The length of the first chunk of `bytes`, which are not empty.
    ///
    /// With `chunkBytesMax` bytes or more the answer does not depend on what follows.
    package static func firstChunk(of bytes: UnsafeRawBufferPointer) -> Int { first(of: bytes, chunkSizes) }

    /// The same for chunks of other sizes.
    static func first(of bytes: UnsafeRawBufferPointer, _ sizes: Sizes) -> Int {
        let end = min(bytes.count, sizes.maximum)
        guard end > sizes.minimum, let base = bytes.baseAddress else { return end }
        let (smallMask, largeMask) = (sizes.smallMask, sizes.largeMask)
        return gear.withUnsafeBufferPointer { gear in
            guard let table = gear.baseAddress else { return end }
            var hash: UInt64 = 0
            var index = sizes.minimum
            let normal = min(end, sizes.average)
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
