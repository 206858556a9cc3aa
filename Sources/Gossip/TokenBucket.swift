internal import ClusterModel

/// Bytes that may still leave; two seconds' worth can be saved up.
struct TokenBucket: Hashable, Sendable {
    private let perSecond: Int
    private var available: Int
    private var refilledAt: MonotonicInstant

    init(perSecond: Int, at now: MonotonicInstant) {
        self.perSecond = perSecond
        available = perSecond * 2
        refilledAt = now
    }

    mutating func refill(at now: MonotonicInstant) {
        let elapsed = min(max(0, (now - refilledAt).nanoseconds), 2_000_000_000)
        let more = Int(Double(elapsed) / 1e9 * Double(perSecond))
        guard more > 0 else { return }
        available = min(perSecond * 2, available + more)
        refilledAt = now
    }

    mutating func take(_ bytes: Int) -> Bool {
        guard available >= bytes else { return false }
        available -= bytes
        return true
    }
}
