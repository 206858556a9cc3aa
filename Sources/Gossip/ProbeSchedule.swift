internal import ClusterModel

/// Who probes whom when, so that with equal views each member is probed exactly once per period.
///
/// In period k the member at place i of the sorted list of n probes the one at i + 1 + (k mod (n − 1)). k is counted from
/// the wall clock; a skew of a few periods only makes the choice look random, as SWIM's is.
struct ProbeSchedule: Sendable {
    let period: Duration
    /// Wall clock minus monotonic clock minus the node's own phase.
    private var offsetNanoseconds: Int64

    /// Phases are spread over this share of a period: bursts are softened, the gap between two probes of a member stays
    /// below 1.25 periods.
    private static let phaseShareReciprocal: Int64 = 4

    init(period: Duration, wallClockOffset: Duration, id: PeerID) {
        self.period = period
        offsetNanoseconds = 0
        wallClockRead(offset: wallClockOffset, id: id)
    }

    mutating func wallClockRead(offset: Duration, id: PeerID) {
        let phase = Int64(SplitMix64.mix(id.rawValue) >> 33) % max(1, period.nanoseconds / Self.phaseShareReciprocal)
        offsetNanoseconds = offset.nanoseconds &- phase
    }

    /// Number of the period that `now` lies in.
    func round(at now: MonotonicInstant) -> Int64 {
        let wall = now.nanoseconds &+ offsetNanoseconds
        let length = period.nanoseconds
        return wall >= 0 ? wall / length : -((length - 1 - wall) / length)
    }

    func start(ofRound round: Int64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: round &* period.nanoseconds &- offsetNanoseconds)
    }

    /// The member to probe in `round`; nil when there is no other.
    ///
    /// `members` is sorted and has `own` in it.
    static func target(inRound round: Int64, among members: [PeerID], own: PeerID) -> PeerID? {
        guard members.count > 1, let place = members.firstIndex(of: own) else { return nil }
        let others = Int64(members.count - 1)
        let shift = ((round % others) + others) % others
        return members[(place + 1 + Int(shift)) % members.count]
    }
}
