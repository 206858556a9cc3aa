/// Names a key without saying anything about it: the first 8 bytes of a keyed hash, 16 hex digits for people.
package struct KeyFingerprint: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static func < (left: KeyFingerprint, right: KeyFingerprint) -> Bool { left.rawValue < right.rawValue }

    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// A key that a ring holds: the ring knows no more of it than its name, whether it is 32 secret bytes or a simulation's
/// number.
package protocol RingKey: Sendable {
    var fingerprint: KeyFingerprint { get }
}
