/// The stable identity of a node: the first 8 bytes of a hash of its public key, so that nobody can choose another's.
package struct PeerID: Hashable, Sendable, Comparable, Codable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static func < (left: PeerID, right: PeerID) -> Bool { left.rawValue < right.rawValue }
}

extension PeerID: CustomStringConvertible {
    /// 16 lower-case hex digits.
    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
