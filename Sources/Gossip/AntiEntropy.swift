internal import ClusterModel

/// When to exchange whole states with somebody whose table differs.
struct AntiEntropy: Sendable {
    /// What an outgoing exchange is for.
    enum Purpose: Hashable, Sendable {
        case seed(PeerAddress)
        case remembered(PeerAddress)
        case repair(PeerID)
    }

    private struct Outgoing: Sendable {
        var id: Membership.ExchangeID
        var purpose: Purpose
        var deadline: MonotonicInstant
    }

    private var outgoing: [Outgoing] = []
    private var lastID: UInt64 = 0
    private var nextRepairAt = MonotonicInstant(nanoseconds: .min)

    /// An exchange without an answer has failed after this long, in periods.
    static let timeoutPeriods = 10.0
    /// Repairs by stream at once that datagrams give cause for.
    static let repairsMax = 8
    /// Least time between two repairs of this node, in periods.
    static let repairPeriods = 1.0
    /// A table that changed less than this many periods ago may differ because news is under way.
    static let quietPeriods = 0.25
    /// Counts that differ by more are no news under way.
    static let farCount = 8
    /// Least time between two repairs while the tables are far apart, in periods.
    static let farPeriods = 0.25

    var count: Int { outgoing.count }
    /// Whether a repair by stream is under way.
    var isRepairing: Bool { outgoing.contains { if case .repair = $0.purpose { true } else { false } } }

    /// Whether one more may begin that a datagram of this peer gives cause for.
    ///
    /// One that hangs must not hold up those with other peers: after a heal each of them has other news.
    func mayRepair(with peer: PeerID) -> Bool {
        let repairs = outgoing.filter { if case .repair = $0.purpose { true } else { false } }
        return repairs.count < Self.repairsMax && !repairs.contains { $0.purpose == .repair(peer) }
    }

    mutating func begin(_ purpose: Purpose, at now: MonotonicInstant, period: Duration) -> Membership.ExchangeID {
        lastID += 1
        let id = Membership.ExchangeID(rawValue: lastID)
        outgoing.append(Outgoing(id: id, purpose: purpose, deadline: now + period * Self.timeoutPeriods))
        return id
    }

    /// The purpose of an exchange that ended; nil when it is not under way.
    mutating func end(_ id: Membership.ExchangeID) -> Purpose? {
        guard let index = outgoing.firstIndex(where: { $0.id == id }) else { return nil }
        return outgoing.remove(at: index).purpose
    }

    /// Takes out the exchanges that nobody answered.
    mutating func expired(at now: MonotonicInstant) -> [Purpose] {
        let late = outgoing.filter { $0.deadline <= now }.map(\.purpose)
        outgoing.removeAll { $0.deadline <= now }
        return late
    }

    /// Whether a difference that shows now is worth a repair; a yes counts as one.
    ///
    /// A table that has just changed may differ because news is under way, unless the counts are `far` apart.
    mutating func wantsRepair(
        at now: MonotonicInstant, tableChangedAt: MonotonicInstant, isFar: Bool, period: Duration
    ) -> Bool {
        guard now >= nextRepairAt, isFar || now - tableChangedAt >= period * Self.quietPeriods, !isRepairing else {
            return false
        }
        nextRepairAt = now + period * (isFar ? Self.farPeriods : Self.repairPeriods)
        return true
    }
}
