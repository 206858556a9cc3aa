internal import ClusterModel

/// One probe under way.
struct Probe: Hashable, Sendable {
    enum Purpose: Hashable, Sendable {
        /// The period's turn.
        case scheduled
        /// Asked to confirm somebody's accusation.
        case confirmation
        /// Somebody says that it is dead.
        case challenge
        /// The last look before a verdict, or another look at a stalled suspect.
        case final
    }

    enum Stage: Hashable, Sendable { case direct, relayed, moreRelayed }

    let number: UInt32
    let subject: PeerID
    let bootID: UInt64
    let purpose: Purpose
    let startedAt: MonotonicInstant
    /// Local health when it began.
    let multiplier: Int
    var stage = Stage.direct
    var relays: [PeerID] = []
    var nacks = 0
    /// What the connection showed so far.
    var evidence = Suspicion.Evidence.silence
    /// Who is waiting for the outcome.
    var askers: [PeerID] = []
    /// Somebody's verdict, which this node would not take without a look of its own.
    var verdict: Claim?
    /// A datagram to the subject could not be sent: the next stage begins without waiting.
    var isHurried = false

    static let askersMax = 8

    /// When the next stage begins, or the probe has failed.
    func nextAt(period: Duration) -> MonotonicInstant {
        if isHurried { return startedAt }
        let share =
            switch stage {
            case .direct: ProbeTiming.relays
            case .relayed: ProbeTiming.moreRelays
            case .moreRelayed: ProbeTiming.failed
            }
        return startedAt + period.scaled(by: share * Double(multiplier))
    }
}
