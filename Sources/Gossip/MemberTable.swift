internal import ClusterModel

/// What this node knows of all members, itself included; keeps the sorted lists and the state hash in step.
struct MemberTable: Sendable {
    struct Entry: Sendable {
        var member: Member
        var suspicion: Suspicion?
        /// When it died or left, nil while it is up.
        var downSince: MonotonicInstant?
        var userWindow = UserWindow()
        /// Version of this node's holdings that the member was sent last.
        var holdingsTold: UInt32 = 0
    }

    /// Most members that are kept; records of more are ignored.
    ///
    /// Bounds memory to about 16 MB.
    static let membersMax = 16_384

    private(set) var entries: [PeerID: Entry] = [:]
    /// Alive and suspect, sorted, this node included.
    private(set) var up: [PeerID] = []
    private(set) var suspects: [PeerID] = []
    private(set) var dead: [PeerID] = []
    private(set) var left: [PeerID] = []
    /// XOR over the members that are up of mix(id, boot, incarnation): equal tables, equal hashes.
    private(set) var stateHash: UInt64 = 0
    /// When `stateHash` changed last.
    private(set) var changedAt: MonotonicInstant

    init(at now: MonotonicInstant) { changedAt = now }

    subscript(id: PeerID) -> Entry? { entries[id] }

    var isFull: Bool { entries.count >= Self.membersMax }

    /// Puts `entry` in the place of the member's former one.
    mutating func set(_ entry: Entry, at now: MonotonicInstant) {
        let id = entry.member.id
        let before = entries.updateValue(entry, forKey: id)
        move(id, from: before?.member.state, to: entry.member.state)
        let change = Self.term(before?.member) ^ Self.term(entry.member)
        if change != 0 {
            stateHash ^= change
            changedAt = now
        }
    }

    mutating func forget(_ id: PeerID, at now: MonotonicInstant) {
        guard let gone = entries.removeValue(forKey: id) else { return }
        move(id, from: gone.member.state, to: nil)
        let term = Self.term(gone.member)
        if term != 0 {
            stateHash ^= term
            changedAt = now
        }
    }

    /// Changes what neither lists nor hash depend on.
    mutating func updateLoad(_ load: LoadRecord, of id: PeerID, at written: MonotonicInstant) {
        entries[id]?.member.load = load
        entries[id]?.member.loadAt = written
    }

    mutating func updateHoldings(_ holdings: Holdings, of id: PeerID) { entries[id]?.member.holdings = holdings }

    /// Notes that the peer has been sent this node's holdings in their present version.
    mutating func holdingsTold(_ version: UInt32, to id: PeerID) { entries[id]?.holdingsTold = version }

    mutating func updateSuspicion(_ id: PeerID, _ change: (inout Suspicion) -> Void) {
        guard var suspicion = entries[id]?.suspicion else { return }
        change(&suspicion)
        entries[id]?.suspicion = suspicion
    }

    /// Whether a user record is new; marks it as seen.
    mutating func admitUserRecord(_ sequence: UInt32, from id: PeerID) -> Bool {
        entries[id]?.userWindow.admit(sequence) ?? false
    }

    /// All members sorted by id.
    var members: [Member] { entries.values.map(\.member).sorted { $0.id < $1.id } }

    /// Takes out the down that have been remembered long enough.
    mutating func forgetOld(before instant: MonotonicInstant, at now: MonotonicInstant) {
        for id in dead + left where (entries[id]?.downSince ?? now) < instant { forget(id, at: now) }
    }

    private mutating func move(_ id: PeerID, from before: Member.State?, to after: Member.State?) {
        guard before != after else { return }
        let wasUp = before == .alive || before == .suspect
        let isUp = after == .alive || after == .suspect
        if wasUp, !isUp { up.removeSorted(id) }
        if !wasUp, isUp { up.insertSorted(id) }
        switch before {
        case .suspect: suspects.removeSorted(id)
        case .dead: dead.removeSorted(id)
        case .left: left.removeSorted(id)
        case .alive, nil: break
        }
        switch after {
        case .suspect: suspects.insertSorted(id)
        case .dead: dead.insertSorted(id)
        case .left: left.insertSorted(id)
        case .alive, nil: break
        }
    }

    private static func term(_ member: Member?) -> UInt64 {
        guard let member, member.isUp else { return 0 }
        return SplitMix64.mix(
            SplitMix64.mix(SplitMix64.mix(member.id.rawValue) ^ member.bootID) &+ UInt64(member.incarnation))
    }
}

extension [PeerID] {
    fileprivate mutating func insertSorted(_ id: PeerID) {
        let place = firstPlace(notBelow: id)
        if place < count, self[place] == id { return }
        insert(id, at: place)
    }

    fileprivate mutating func removeSorted(_ id: PeerID) {
        let place = firstPlace(notBelow: id)
        if place < count, self[place] == id { remove(at: place) }
    }

    private func firstPlace(notBelow id: PeerID) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
