internal import ClusterModel

/// The time that an accused member has to refute; shorter with each independent accuser (Lifeguard §IV-B).
///
/// timeout = max(min, max − (max − min) · ln(c + 1) / ln(k + 1)) with c confirmations of k expected.
struct Suspicion: Hashable, Sendable {
    let incarnation: UInt32
    let startedAt: MonotonicInstant
    /// Distinct, in order of arrival; the first is the one that began it.
    private(set) var accusers: [PeerID]
    /// Confirmations that end the wait at its minimum.
    let confirmationsExpected: Int
    /// Time added: for a stall of this node, or because the last probe before the verdict was answered.
    private var extensions: Duration = .zero
    /// The last probe before the verdict is under way.
    var isInFinalProbe = false

    static let confirmationsMax = 2

    init(incarnation: UInt32, accuser: PeerID, membersUp: Int, at now: MonotonicInstant) {
        self.incarnation = incarnation
        startedAt = now
        accusers = [accuser]
        // Subject and accuser confirm nothing.
        confirmationsExpected = min(Self.confirmationsMax, max(0, membersUp - 2))
    }

    /// Adds an accuser; false when it is known or no more are needed.
    mutating func confirm(by accuser: PeerID) -> Bool {
        guard !accusers.contains(accuser), accusers.count <= confirmationsExpected else { return false }
        accusers.append(accuser)
        return true
    }

    mutating func extend(by duration: Duration) { extensions += duration }

    /// When the last probe before the verdict is due.
    func deadline(_ configuration: GossipConfiguration) -> MonotonicInstant {
        let (least, most) = (configuration.suspicionPeriodsMin, configuration.suspicionPeriodsMax)
        let share = Self.shares[min(confirmationsExpected, Self.confirmationsMax)][
            min(accusers.count - 1, confirmationsExpected)]
        let periods = max(least, most - (most - least) * share)
        return startedAt + configuration.period * periods + extensions
    }

    /// ln(c + 1) / ln(k + 1) as a table by k and c: no floating-point library in a core, and the same on every machine.
    private static let shares: [[Double]] = [[1], [0, 1], [0, 0.630_929_753_571_457, 1]]
}
