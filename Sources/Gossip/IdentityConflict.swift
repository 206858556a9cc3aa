internal import ClusterModel

/// Another process with this node's identity: a copied root directory or machine.
///
/// One identity can be one member only. A process that found its identity in use when it joined is the copy: it gives
/// way. Any other takes a higher boot id and so its place back. Two that have both run for long, say in two halves of a
/// cluster, both take a higher boot id once; when that does not settle it, the lower address stays.
struct IdentityConflict: Hashable, Sendable {
    let startedAt: MonotonicInstant
    private(set) var isReported = false
    private var defendedAt: MonotonicInstant?
    /// Where others thought that this identity was when this process came.
    private var before: PeerAddress?

    /// A process older than this is no copy that has just been started, in periods.
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

    /// Somebody held this identity for a member at another address, under a lower boot id.
    mutating func foundBefore(_ address: PeerAddress) {
        // After a defence the lower boot id is the copy's.
        guard defendedAt == nil else { return }
        before = before ?? address
    }

    /// What to do about a process with this identity that took the place in the table; a defence counts.
    ///
    /// Of two with one boot id, which only a copied machine has, the younger must not seal another datagram.
    mutating func answer(
        to address: PeerAddress, sharesBoot: Bool, ownsLowerAddress: Bool, at now: MonotonicInstant, period: Duration
    ) -> Answer {
        let isNewcomer = now - startedAt < period * Self.newcomerPeriods
        if isNewcomer, sharesBoot || before == address { return .giveUp }
        if let defended = defendedAt, now - defended < period * Self.fightPeriods, !ownsLowerAddress { return .giveUp }
        defendedAt = now
        return .defend
    }
}
