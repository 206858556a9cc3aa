internal import ClusterModel

/// How often a member was dead here and came back lately: a flapper gets longer to refute.
struct Returns: Hashable, Sendable {
    private var count: UInt8 = 0
    private var lastAt = MonotonicInstant(nanoseconds: .min)

    /// A member that stayed up for this long is as good as new.
    static let memory: Duration = .seconds(600)
    static let factorMax = 8.0

    mutating func note(at now: MonotonicInstant) {
        count = isFresh(at: now) ? min(3, count + 1) : 1
        lastAt = now
    }

    /// What the shortest wait for a refutation is multiplied by: 1, 2, 4, 8.
    func factor(at now: MonotonicInstant) -> Double {
        isFresh(at: now) ? min(Self.factorMax, Double(1 << count)) : 1
    }

    private func isFresh(at now: MonotonicInstant) -> Bool {
        count > 0 && now.nanoseconds < lastAt.nanoseconds &+ Self.memory.nanoseconds
    }
}
