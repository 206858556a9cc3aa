/// Which of a sender's newest 1,024 counters were seen (RFC 6479's idea, one word at a time).
struct ReplayWindow: Sendable {
    /// Counters that may arrive out of order.
    static let width: UInt64 = 1_024
    /// One more than the width needs: the newest word is rarely full.
    private static let words = Int(width / 64) + 1

    private var bits = [UInt64](repeating: 0, count: words)
    private var newest: UInt64 = 0
    private var isEmpty = true

    /// Whether `counter` is new; remembers it.
    mutating func admit(_ counter: UInt64) -> Bool {
        if isEmpty || counter > newest {
            advance(to: counter)
        } else if newest - counter >= Self.width {
            return false
        }
        let word = Int(counter / 64 % UInt64(Self.words))
        let bit = UInt64(1) << (counter % 64)
        defer { bits[word] |= bit }
        return bits[word] & bit == 0
    }

    private mutating func advance(to counter: UInt64) {
        let firstWord = counter / 64
        let lastWord = newest / 64
        let cleared = isEmpty ? 0 : min(firstWord - lastWord, UInt64(Self.words))
        for offset in 0..<cleared { bits[Int((firstWord - offset) % UInt64(Self.words))] = 0 }
        newest = counter
        isEmpty = false
    }
}
