internal import ClusterModel

/// News on its way: what to put into the datagrams that leave, a bounded number of times each.
///
/// Classes share the bytes by deficit round robin, membership 4 : load 2 : user 2, so that none starves another; within
/// a class what was told least goes first. All but refutations and accusations pay from one token bucket per node, and
/// so does what mends tables by datagrams.
struct Dissemination: Sendable {
    /// Newer news under the same key takes the place of the older.
    enum Key: Hashable, Sendable {
        /// Alive, dead or left: the last word on a member.
        case standing(PeerID)
        case suspect(PeerID)
        case load(PeerID)
        case user(PeerID, UInt32)
    }

    /// Eager copies: 2 members in each of 4 rounds leave out one member in 3,000, e^−8, within 0.25 s.
    static let pushFanOut = 2
    static let pushRounds = 4
    /// The layer above finds the one member in 50 that 4 copies leave out, and fetches what it lacks.
    static let unhurriedPushRounds = 2
    static let unhurriedRides = 0
    static let pushDelay: Duration = .milliseconds(15)
    static let pushInterval: Duration = .milliseconds(40)
    /// Records that are not urgent wait this long for company.
    static let batchDelay: Duration = .milliseconds(250)
    /// Datagrams to one member in one round: a burst of 8 fits the receive buffer of any socket.
    static let pushDatagramsMax = 8
    /// User records that wait; the oldest leave first.
    ///
    /// The layer above repairs what is lost.
    static let userItemsMax = 512

    private var queues = [NewsQueue(), NewsQueue(), NewsQueue()]
    private var deficits = [0, 0, 0]
    private static let weights = [4, 2, 2]
    private static let weightsSum = 8
    private var turn = 0
    private(set) var tokens: TokenBucket
    /// Bytes sent by class, for the counters.
    private(set) var sentBytes = [UInt64](repeating: 0, count: 3)
    private(set) var heldBack: UInt64 = 0

    init(bytesPerSecond: Int, at now: MonotonicInstant) {
        tokens = TokenBucket(perSecond: bytesPerSecond, at: now)
    }

    /// Whether a datagram of so many bytes may leave now; pays for it.
    mutating func admits(_ bytes: Int, at now: MonotonicInstant) -> Bool {
        tokens.refill(at: now)
        if tokens.take(bytes) { return true }
        heldBack += 1
        return false
    }

    /// Records by class: membership, load, user.
    var counts: [Int] { queues.map(\.count) }

    var wantsPush: Bool { queues.contains { $0.pushes > 0 } }

    /// Adds a framed record; returns how many user records had to go for it.
    mutating func enqueue(
        _ bytes: [UInt8], as key: Key, pushing: Bool = true, isExempt: Bool = false, isHurried: Bool = true
    ) -> Int {
        let pushes = pushing ? Self.pushFanOut * (isHurried ? Self.pushRounds : Self.unhurriedPushRounds) : 0
        switch key {
        case .standing(let subject):
            queues[0].remove(.suspect(subject))
            queues[0].put(bytes, as: key, pushes: pushes, isExempt: isExempt)
        case .suspect: queues[0].put(bytes, as: key, pushes: pushes, isExempt: true)
        case .load: queues[1].put(bytes, as: key, pushes: pushes, isExempt: false)
        case .user:
            queues[2].put(
                bytes, as: key, pushes: pushes, isExempt: false,
                limit: isHurried ? .max : pushes + Self.unhurriedRides)
            return queues[2].trim(to: Self.userItemsMax)
        }
        return 0
    }

    /// Times that one item is sent in a cluster with `members` up: the pushes, then 3 + ½ log2 n rides.
    static func transmissionLimit(members: Int) -> Int {
        pushFanOut * pushRounds + 3 + (Int.bitWidth - members.leadingZeroBitCount) / 2
    }

    /// Framed records for one or more datagrams of `budget` bytes each; no item twice.
    mutating func take(
        datagrams: Int, budget: Int, members: Int, pushesOnly: Bool, at now: MonotonicInstant?
    ) -> [[[UInt8]]] {
        guard pushesOnly ? wantsPush : queues.contains(where: { !$0.isEmpty }) else { return [] }
        if let now { tokens.refill(at: now) }
        let limit = Self.transmissionLimit(members: members)
        for index in queues.indices { queues[index].beginRound() }
        var result: [[[UInt8]]] = []
        for _ in 0..<datagrams {
            let records = fill(budget, pushesOnly: pushesOnly, limit: limit)
            guard !records.isEmpty else { break }
            result.append(records)
        }
        return result
    }

    /// One datagram: first each class what it has saved up, then whatever fits, so that nothing is left unused.
    private mutating func fill(_ budget: Int, pushesOnly: Bool, limit: Int) -> [[UInt8]] {
        var room = budget
        var records: [[UInt8]] = []
        turn = (turn + 1) % queues.count
        let order = queues.indices.map { (turn + $0) % queues.count }
        for index in order {
            // A class with nothing to say saves nothing; one with a long record saves up for it.
            let share = budget * Self.weights[index] / Self.weightsSum
            deficits[index] = queues[index].isEmpty ? 0 : min(2 * budget, deficits[index] + share)
            queues[index].rewind()
        }
        for isLeftover in [false, true] {
            for index in order {
                if isLeftover { queues[index].rewind() }
                while let bytes = queues[index].next(
                    room: room, credit: isLeftover ? room : deficits[index], pushesOnly: pushesOnly, limit: limit,
                    tokens: &tokens)
                {
                    records.append(bytes)
                    room -= bytes.count
                    deficits[index] = max(0, deficits[index] - bytes.count)
                    sentBytes[index] += UInt64(bytes.count)
                }
                if queues[index].wasHeldBack { heldBack += 1 }
            }
        }
        return records
    }
}
