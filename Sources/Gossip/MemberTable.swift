internal import ClusterModel

/// What this node knows of all members, itself included; keeps the sorted lists and the state hash in step.
struct MemberTable: Sendable {
    struct Entry: Sendable {
        var member: Member
        /// When a datagram of it came last.
        var heardAt: MonotonicInstant?
        /// Which of its addresses answered last.
        var addressIndex: UInt8 = 0
        /// Probes in a row that only a stream answered.
        var streamOnly: UInt8 = 0
        /// When it came back from the dead lately, to damp a flapper.
        var returns = Returns()
        /// When it died or left, nil while it is up.
        var downSince: MonotonicInstant?
        /// Where it was reached last, else where it says.
        var address: PeerAddress { member.metadata.address(at: Int(addressIndex)) }
        var userWindow = UserWindow()
        /// Version of this node's holdings that the member was sent last.
        var holdingsTold: UInt32 = 0
    }

    /// Most members that are kept; for one more the oldest tombstone goes, and with none it is ignored.
    ///
    /// Bounds memory to about 16 MB.
    static let membersMax = 16_384

    /// Entries in chunks: nodes of a simulation that start from one table share all but the chunks that they change.
    private var chunks: [[Entry?]] = []
    private var places: [PeerID: Int32] = [:]
    private var free: [Int32] = []
    /// Alive and suspect, sorted, this node included.
    private(set) var up: [PeerID] = []
    /// With an accusation that is neither refuted nor decided, sorted.
    private(set) var accused: [PeerID] = []
    private(set) var suspicions: [PeerID: Suspicion] = [:]
    private(set) var dead: [PeerID] = []
    private(set) var left: [PeerID] = []
    /// XOR over the members that are up of mix(id, boot, incarnation): equal tables, equal hashes.
    private(set) var stateHash: UInt64 = 0
    /// When `stateHash` changed last.
    private(set) var changedAt: MonotonicInstant

    init(at now: MonotonicInstant) { changedAt = now }

    subscript(id: PeerID) -> Entry? {
        guard let place = places[id] else { return nil }
        return chunks[Int(place) / Self.chunkSize][Int(place) % Self.chunkSize]
    }

    // Parts of an entry that each datagram needs: a copy of the whole counts a dozen references up and down.

    func load(of id: PeerID) -> LoadRecord? {
        guard let place = places[id] else { return nil }
        return chunks[Int(place) / Self.chunkSize][Int(place) % Self.chunkSize]?.member.load
    }

    func incarnation(of id: PeerID) -> UInt32? {
        guard let place = places[id] else { return nil }
        return chunks[Int(place) / Self.chunkSize][Int(place) % Self.chunkSize]?.member.incarnation
    }

    func bootID(of id: PeerID) -> UInt64? {
        guard let place = places[id] else { return nil }
        return chunks[Int(place) / Self.chunkSize][Int(place) % Self.chunkSize]?.member.bootID
    }

    static let chunkSize = 16

    var count: Int { places.count }
    var isFull: Bool { places.count >= Self.membersMax }

    /// Changes an entry in place; neither state, boot nor incarnation.
    mutating func update(_ id: PeerID, _ change: (inout Entry) -> Void) {
        guard let place = places[id] else { return }
        let (chunk, offset) = (Int(place) / Self.chunkSize, Int(place) % Self.chunkSize)
        if var entry = chunks[chunk][offset] {
            chunks[chunk][offset] = nil
            change(&entry)
            chunks[chunk][offset] = entry
        }
    }

    /// Puts `entry` in the place of the member's former one.
    mutating func set(_ entry: Entry, at now: MonotonicInstant) {
        let id = entry.member.id
        let before = self[id]
        store(entry)
        move(id, from: before?.member.state, to: entry.member.state)
        let change = Self.term(before?.member) ^ Self.term(entry.member)
        if change != 0 {
            stateHash ^= change
            changedAt = now
        }
    }

    private mutating func store(_ entry: Entry) {
        let id = entry.member.id
        if let place = places[id] {
            chunks[Int(place) / Self.chunkSize][Int(place) % Self.chunkSize] = entry
        } else if let place = free.popLast() {
            places[id] = place
            chunks[Int(place) / Self.chunkSize][Int(place) % Self.chunkSize] = entry
        } else {
            if chunks.last.map({ $0.count == Self.chunkSize }) ?? true { chunks.append([]) }
            let chunk = chunks.count - 1
            places[id] = Int32(chunk * Self.chunkSize + chunks[chunk].count)
            chunks[chunk].append(entry)
        }
    }

    mutating func forget(_ id: PeerID, at now: MonotonicInstant) {
        guard let gone = self[id], let place = places.removeValue(forKey: id) else { return }
        chunks[Int(place) / Self.chunkSize][Int(place) % Self.chunkSize] = nil
        free.append(place)
        setSuspicion(nil, of: id)
        move(id, from: gone.member.state, to: nil)
        let term = Self.term(gone.member)
        if term != 0 {
            stateHash ^= term
            changedAt = now
        }
    }

    // MARK: What neither lists nor hash depend on

    mutating func updateLoad(_ load: LoadRecord, of id: PeerID, at written: MonotonicInstant) {
        update(id) {
            $0.member.load = load
            $0.member.loadAt = written
        }
    }

    mutating func updateHoldings(_ holdings: Holdings, of id: PeerID) { update(id) { $0.member.holdings = holdings } }

    /// Notes that the peer has been sent this node's holdings in their present version.
    mutating func holdingsTold(_ version: UInt32, to id: PeerID) { update(id) { $0.holdingsTold = version } }

    mutating func setSuspicion(_ suspicion: Suspicion?, of id: PeerID) {
        if let suspicion {
            if suspicions.updateValue(suspicion, forKey: id) == nil { accused.insertSorted(id) }
        } else if suspicions.removeValue(forKey: id) != nil {
            accused.removeSorted(id)
        }
    }

    mutating func updateSuspicion(_ id: PeerID, _ change: (inout Suspicion) -> Void) {
        guard var suspicion = suspicions[id] else { return }
        change(&suspicion)
        suspicions[id] = suspicion
    }

    /// Whether a user record is new; marks it as seen.
    mutating func admitUserRecord(_ sequence: UInt32, from id: PeerID) -> Bool {
        var isNew = false
        update(id) { isNew = $0.userWindow.admit(sequence) }
        return isNew
    }

    /// All members sorted by id.
    var members: [Member] { chunks.joined().compactMap { $0?.member }.sorted { $0.id < $1.id } }

    /// All ids, in no order that depends on anything but the order in which they were added.
    var ids: [PeerID] { chunks.joined().compactMap { $0?.member.id } }

    /// Place of a member in `up`.
    func place(of id: PeerID) -> Int? { up.place(of: id) }

    /// Whether one more has room; the oldest tombstone goes for it when the table is full.
    mutating func makeRoom(at now: MonotonicInstant) -> Bool {
        guard isFull else { return true }
        let oldest = (dead + left).min { (self[$0]?.downSince ?? now) < (self[$1]?.downSince ?? now) }
        guard let oldest else { return false }
        forget(oldest, at: now)
        return true
    }

    /// Takes out the down that have been remembered long enough.
    mutating func forgetOld(before instant: MonotonicInstant, at now: MonotonicInstant) {
        for id in dead + left where (self[id]?.downSince ?? now) < instant { forget(id, at: now) }
    }

    private mutating func move(_ id: PeerID, from before: Member.State?, to after: Member.State?) {
        guard before != after else { return }
        let wasUp = before == .alive || before == .suspect
        let isUp = after == .alive || after == .suspect
        if wasUp, !isUp { up.removeSorted(id) }
        if !wasUp, isUp { up.insertSorted(id) }
        switch before {
        case .dead: dead.removeSorted(id)
        case .left: left.removeSorted(id)
        case .alive, .suspect, nil: break
        }
        switch after {
        case .dead: dead.insertSorted(id)
        case .left: left.insertSorted(id)
        case .alive, .suspect, nil: break
        }
    }

    static func term(_ member: Member?) -> UInt64 {
        guard let member, member.isUp else { return 0 }
        return SplitMix64.mix(
            SplitMix64.mix(SplitMix64.mix(member.id.rawValue) ^ member.bootID) &+ UInt64(member.incarnation))
    }
}
