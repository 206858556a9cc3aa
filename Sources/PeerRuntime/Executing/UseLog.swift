internal import CacheMap

/// Lets the use of a cache key be noted once a minute, however often it is used: a note costs look-ups and a write.
struct UseLog: Sendable {
    /// Seconds between two notes of one key.
    static let interval: Int64 = 60
    /// Keys that are told apart; with more, all are forgotten and noted anew.
    static let keysMax = 65_536

    private var notedAt: [CacheKey: Int64] = [:]

    /// Whether a use of `key` at `now`, in Unix seconds, is to be noted; it counts as noted then.
    mutating func isDue(_ key: CacheKey, at now: Int64) -> Bool {
        // A clock that was set back silences no key.
        if let last = notedAt[key], (0..<Self.interval).contains(now - last) { return false }
        if notedAt.count >= Self.keysMax, notedAt[key] == nil { notedAt = [:] }
        notedAt[key] = now
        return true
    }
}
