internal import ClusterModel

/// An accusation under way, private or known to all, and the time that the accused has to show itself.
///
/// SWIM tells everybody of a suspect at once; here the accuser first asks designated confirmers, and one answer of the
/// accused to any of them ends it. Under loss that keeps single failed probes from becoming news.
struct Suspicion: Hashable, Sendable {
    /// What the accusers' connections showed, weakest first.
    enum Evidence: UInt8, Hashable, Sendable, Comparable {
        /// Nothing at all came back.
        case silence
        /// The kernel accepts connections: stopped or overloaded.
        case accepted
        /// The host says that the process is gone.
        case refused

        static func < (left: Evidence, right: Evidence) -> Bool { left.rawValue < right.rawValue }
    }

    let incarnation: UInt32
    let bootID: UInt64
    /// Of the first accusation, as far as this node knows.
    var startedAt: MonotonicInstant
    /// Distinct, in order of arrival.
    private(set) var accusers: [PeerID]
    var evidence: Evidence
    /// When this node heard that all know of it; the member is a suspect from then on, else it still counts as alive.
    private(set) var publicSince: MonotonicInstant?
    /// This node began it: it asks confirmers, tells all, and gives the verdict.
    var isOwn: Bool
    /// When more confirmers are asked, while too few have spoken.
    var askAt: MonotonicInstant?
    var asked = 0
    /// When the accuser's last look of its own is over; it serves a verdict whose time has come by then.
    var lookEndsAt: MonotonicInstant?
    /// Multiplies the shortest wait: local health and flapping.
    let damping: Double
    /// Accusers that make a verdict at the shortest wait.
    let accusersNeeded: Int

    static let accusersMax = 3
    /// A kernel that accepts connections for a process that says nothing keeps it alive for so many periods.
    static let stalledPeriods = 30.0
    /// Accusers whose connections were refused make a verdict at once.
    static let refusedNeeded = 2
    /// Accusers that make an accusation public.
    static let publicNeeded = 2

    init(
        incarnation: UInt32, bootID: UInt64, accuser: PeerID, evidence: Evidence, isOwn: Bool, membersUp: Int,
        damping: Double, at now: MonotonicInstant
    ) {
        self.incarnation = incarnation
        self.bootID = bootID
        startedAt = now
        accusers = [accuser]
        self.evidence = evidence
        self.isOwn = isOwn
        self.damping = damping
        // Subject and accuser confirm nothing.
        accusersNeeded = min(Self.accusersMax, 1 + max(0, membersUp - 2))
    }

    /// Adds an accuser and what it saw.
    mutating func confirm(by accuser: PeerID, evidence seen: Evidence) {
        evidence = max(evidence, seen)
        guard !accusers.contains(accuser), accusers.count < 2 * Self.accusersMax else { return }
        accusers.append(accuser)
    }

    /// What was seen before holds no longer: it begins anew with one accuser.
    mutating func beginAgain(by accuser: PeerID, at now: MonotonicInstant) {
        startedAt = now
        accusers = [accuser]
        lookEndsAt = nil
    }

    var isPublic: Bool { publicSince != nil }

    /// All know of it.
    mutating func becomePublic(at now: MonotonicInstant) { publicSince = publicSince ?? now }

    var isReadyForAll: Bool { accusers.count >= min(Self.publicNeeded, accusersNeeded) }

    mutating func extend(by duration: Duration) { startedAt = startedAt + duration }

    /// This process stood still: verdicts that wait in its socket may be as old as that.
    mutating func wasMissed(for duration: Duration, at now: MonotonicInstant) {
        extend(by: duration)
        lookEndsAt = nil
        if isPublic { publicSince = now }
    }

    /// When the accused is dead unless it has shown itself.
    func deadline(_ configuration: GossipConfiguration, membersUp: Int) -> MonotonicInstant {
        let periods: Double
        switch evidence {
        case .refused where accusers.count >= min(Self.refusedNeeded, accusersNeeded): periods = 0
        case .accepted: periods = Self.stalledPeriods
        case .refused, .silence:
            periods =
                accusers.count >= accusersNeeded
                ? configuration.suspicionPeriodsMin * damping : configuration.suspicionPeriodsMax(membersUp: membersUp)
        }
        return startedAt + configuration.period * periods
    }
}
