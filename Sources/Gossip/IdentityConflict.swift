internal import ClusterModel

/// Another process with this node's identity: a copied root directory or machine.
///
/// One identity can be one member only. A process that has run for long takes a higher boot id and so its place back;
/// one that has just started gives way. Two that have both run for long, say in two halves of a cluster, both take a
/// higher boot id once; when that does not settle it, the lower address stays.
struct IdentityConflict: Hashable, Sendable {
    let startedAt: MonotonicInstant
    private(set) var isReported = false
    private var defendedAt: MonotonicInstant?

    /// A process younger than this is the copy, in periods.
    static let newcomerPeriods = 60.0
    /// A second defence within this many periods is a fight.
    static let fightPeriods = 600.0

    enum Answer: Hashable, Sendable { case defend, giveUp }

    init(startedAt: MonotonicInstant) { self.startedAt = startedAt }

    /// Whether this is the first word of it; a yes counts as reported.
    mutating func report() -> Bool {
        defer { isReported = true }
        return !isReported
    }

    /// What to do about a process with this identity that took the place in the table; a defence counts.
    mutating func answer(ownsLowerAddress: Bool, at now: MonotonicInstant, period: Duration) -> Answer {
        guard now - startedAt >= period * Self.newcomerPeriods else { return .giveUp }
        if let defended = defendedAt, now - defended < period * Self.fightPeriods, !ownsLowerAddress { return .giveUp }
        defendedAt = now
        return .defend
    }
}
