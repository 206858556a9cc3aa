internal import OCI

/// The cluster's secret for hashing cache keys in digests: nobody without it can make keys that collide.
package struct MapHashKey: Hashable, Sendable {
    private let low: UInt64
    private let high: UInt64

    /// Takes the 16 bytes of a SipHash key, low word first in little-endian order as in the paper.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        low = Self.word(bytes[0..<8])
        high = Self.word(bytes[8..<16])
    }

    /// 64 hash bits of a cache key; a digest's pages and deltas hold nothing else of it.
    package func hash(_ key: CacheKey) -> UInt64 { hash(key.digest.bytes) }

    /// SipHash-2-4 (Aumasson, Bernstein 2012).
    package func hash(_ message: [UInt8]) -> UInt64 {
        var state = SipState(low: low, high: high)
        var position = 0
        while position + 8 <= message.count {
            state.absorb(Self.word(message[position..<position + 8]))
            position += 8
        }
        let length = UInt64(truncatingIfNeeded: message.count) << 56
        state.absorb(length | Self.word(message[position...]))
        return state.finish()
    }

    private static func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        for byte in bytes {
            value |= UInt64(byte) << shift
            shift += 8
        }
        return value
    }
}

/// SipHash's four words.
private struct SipState {
    private var a: UInt64
    private var b: UInt64
    private var c: UInt64
    private var d: UInt64

    init(low: UInt64, high: UInt64) {
        a = low ^ 0x736F_6D65_7073_6575
        b = high ^ 0x646F_7261_6E64_6F6D
        c = low ^ 0x6C79_6765_6E65_7261
        d = high ^ 0x7465_6462_7974_6573
    }

    mutating func absorb(_ word: UInt64) {
        d ^= word
        rounds(2)
        a ^= word
    }

    mutating func finish() -> UInt64 {
        c ^= 0xFF
        rounds(4)
        return a ^ b ^ c ^ d
    }

    private mutating func rounds(_ count: Int) {
        for _ in 0..<count {
            a &+= b
            b = b << 13 | b >> 51
            b ^= a
            a = a << 32 | a >> 32
            c &+= d
            d = d << 16 | d >> 48
            d ^= c
            a &+= d
            d = d << 21 | d >> 43
            d ^= a
            c &+= b
            b = b << 17 | b >> 47
            b ^= c
            c = c << 32 | c >> 32
        }
    }
}
