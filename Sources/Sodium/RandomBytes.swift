internal import CSodium

/// Random bytes of the kernel's generator, through libsodium.
package enum RandomBytes {
    /// `count` unpredictable bytes.
    package static func make(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        randombytes_buf(&bytes, count)
        return bytes
    }

    /// A seed for `SplitMix64` and its like.
    package static func seed() -> UInt64 {
        var value: UInt64 = 0
        randombytes_buf(&value, MemoryLayout<UInt64>.size)
        return value
    }
}
