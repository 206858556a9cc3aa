/// A count in one byte: exact up to 16, then within an eighth, never above the true value.
///
/// Three bits of fraction under five bits of exponent, as a small floating-point number.
enum LogScale {
    static let greatest = decode(.max)

    /// The largest value of the scale that is not above `value`.
    static func encode(_ value: UInt64) -> UInt8 {
        guard value >= 8 else { return UInt8(value) }
        let capped = min(value, greatest)
        let exponent = UInt64(60 - capped.leadingZeroBitCount)
        return UInt8((exponent + 1) << 3 | (capped >> exponent) & 7)
    }

    static func decode(_ code: UInt8) -> UInt64 {
        let (exponent, fraction) = (UInt64(code >> 3), UInt64(code & 7))
        return exponent == 0 ? fraction : (8 | fraction) << (exponent - 1)
    }
}
