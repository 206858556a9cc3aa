internal import ClusterModel

/// Compares the root over this node's view of the cache maps with the others'.
///
/// News under way makes roots differ for a moment. A difference counts when it lasts: this node's root has not changed
/// for 2 periods, or nobody has shown an equal one for as long.
struct MapRoots: Hashable, Sendable {
    private(set) var own: UInt32 = 0
    private var changedAt: MonotonicInstant
    private var agreedAt: MonotonicInstant
    private var reportAllowedAt: MonotonicInstant

    static let patiencePeriods = 2.0
    /// Least time between two reports, in periods: one fetch may mend many differences.
    static let reportPeriods = 1.0

    init(at now: MonotonicInstant) {
        changedAt = now
        agreedAt = now
        reportAllowedAt = now
    }

    mutating func change(to root: UInt32, at now: MonotonicInstant) {
        guard root != own else { return }
        own = root
        changedAt = now
    }

    /// Whether the other's root is a difference to report now; a yes counts as reported.
    mutating func differs(_ other: UInt32, at now: MonotonicInstant, period: Duration) -> Bool {
        guard other != own else {
            agreedAt = now
            return false
        }
        let patience = period * Self.patiencePeriods
        guard now - changedAt > patience || now - agreedAt > patience, now >= reportAllowedAt else { return false }
        reportAllowedAt = now + period * Self.reportPeriods
        return true
    }
}
