internal import ClusterModel

/// The bit places of one hash: independent draws from a mixed sequence.
///
/// Two plain hashes combined (Kirsch,
/// Mitzenmacher 2006) would add to the rate of false hits in filters as small as a page.
struct BloomProbe {
    private var state: UInt64
    private let bits: UInt64

    init(hash: UInt64, bits: Int) {
        state = hash
        self.bits = UInt64(bits)
    }

    mutating func next() -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Int(SplitMix64.mix(state).multipliedFullWidth(by: bits).high)
    }
}
