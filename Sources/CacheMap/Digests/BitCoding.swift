/// Appends bits, highest first.
struct BitWriter: Sendable {
    private(set) var bytes: [UInt8] = []
    private var gathered: UInt64 = 0
    private var count = 0

    init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    /// Appends the low `width` bits of `value`; `width` is at most 32.
    mutating func append(_ value: UInt32, width: Int) {
        gathered = gathered << UInt64(width) | UInt64(value) & ((1 << UInt64(width)) - 1)
        count += width
        drain()
    }

    /// `length` ones and a zero.
    mutating func appendUnary(_ length: Int) {
        var rest = length
        while rest >= 24 {
            append(0xFF_FFFF, width: 24)
            rest -= 24
        }
        append((1 << UInt32(rest + 1)) - 2, width: rest + 1)
    }

    /// The bytes so far; the last one is filled up with zeros.
    func finished() -> [UInt8] {
        count == 0 ? bytes : bytes + [UInt8(truncatingIfNeeded: gathered << UInt64(8 - count))]
    }

    private mutating func drain() {
        while count >= 8 {
            count -= 8
            bytes.append(UInt8(truncatingIfNeeded: gathered >> UInt64(count)))
        }
    }
}

/// Reads bits, highest first; nil at the end.
struct BitReader: Sendable {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var remaining: Int { bytes.count * 8 - position }

    /// The next `width` bits, at most 32.
    mutating func read(width: Int) -> UInt32? {
        guard remaining >= width else { return nil }
        var value: UInt64 = 0
        var missing = width
        while missing > 0 {
            let inside = position & 7
            let some = min(8 - inside, missing)
            let piece = (bytes[position >> 3] << UInt8(inside)) >> UInt8(8 - some)
            value = value << UInt64(some) | UInt64(piece)
            position += some
            missing -= some
        }
        return UInt32(truncatingIfNeeded: value)
    }

    /// The number of ones before the next zero.
    mutating func readUnary() -> Int? {
        var length = 0
        while position < bytes.count * 8 {
            let inside = position & 7
            let rest = bytes[position >> 3] << UInt8(inside)
            let ones = min((~rest).leadingZeroBitCount, 8 - inside)
            length += ones
            position += ones
            if ones < 8 - inside {
                position += 1
                return length
            }
        }
        return nil
    }

    /// Whether nothing but the filling of the last byte is left, and that is zero.
    var isAtEnd: Bool {
        guard remaining < 8 else { return false }
        var rest = self
        return rest.read(width: remaining) == 0
    }
}
