/// Which of an origin's last user records have been seen: each is delivered and passed on once.
struct UserWindow: Hashable, Sendable {
    private var highest: UInt32 = 0
    /// Bit i of word w: `highest` − (64 w + i) has been seen.
    private var seen: [UInt64] = []

    static let width = 256

    /// Whether `sequence` is new; marks it.
    ///
    /// What is older than the window counts as seen.
    mutating func admit(_ sequence: UInt32) -> Bool {
        guard sequence > 0 else { return false }
        if seen.isEmpty { seen = [UInt64](repeating: 0, count: Self.width / 64) }
        if sequence > highest {
            shift(by: Int(sequence - highest))
            highest = sequence
            seen[0] |= 1
            return true
        }
        let age = Int(highest - sequence)
        guard age < Self.width, seen[age / 64] & (1 << UInt64(age % 64)) == 0 else { return false }
        seen[age / 64] |= 1 << UInt64(age % 64)
        return true
    }

    private mutating func shift(by distance: Int) {
        guard distance < Self.width else {
            seen = [UInt64](repeating: 0, count: Self.width / 64)
            return
        }
        let (words, bits) = (distance / 64, UInt64(distance % 64))
        for index in stride(from: seen.count - 1, through: 0, by: -1) {
            let high = index >= words ? seen[index - words] << bits : 0
            let low = bits > 0 && index > words ? seen[index - words - 1] >> (64 - bits) : 0
            seen[index] = high | low
        }
    }
}
