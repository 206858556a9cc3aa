/// A part of the hash space: the hashes whose top `depth` bits are `bits`.
struct DigestPrefix: Hashable, Sendable {
    /// The prefix in the top bits, zero below.
    let bits: UInt64
    let depth: UInt8

    /// Two to the 24th pages hold more keys than any node.
    static let depthMax: UInt8 = 24
    static let whole = DigestPrefix(bits: 0, depth: 0)

    func contains(_ hash: UInt64) -> Bool { (hash ^ bits) & mask == 0 }

    func overlaps(_ other: DigestPrefix) -> Bool { (bits ^ other.bits) & mask & other.mask == 0 }

    /// The halves with the next bit 0 and 1.
    var halves: (DigestPrefix, DigestPrefix) {
        let bit: UInt64 = 1 << (63 - UInt64(depth))
        return (DigestPrefix(bits: bits, depth: depth + 1), DigestPrefix(bits: bits | bit, depth: depth + 1))
    }

    /// The part of which this is a half; nil for the whole.
    var parent: DigestPrefix? {
        guard depth > 0 else { return nil }
        return DigestPrefix(bits: bits & ~(1 << (64 - UInt64(depth))), depth: depth - 1)
    }

    /// The last hash of the part.
    var last: UInt64 { bits | ~mask }

    /// Bytes that the prefix takes in a frame.
    var byteCount: Int { (Int(depth) + 7) / 8 }

    /// No bit is set behind the prefix.
    var isCanonical: Bool { bits & ~mask == 0 }

    private var mask: UInt64 { depth == 0 ? 0 : ~0 << (64 - UInt64(depth)) }
}
