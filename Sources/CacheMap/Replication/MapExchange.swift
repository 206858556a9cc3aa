package import ClusterModel

/// One node's part in keeping all digests known everywhere, as a state machine over gossip and streams.
///
/// Give each event with the present time and carry out the effects in order. Deltas spread by gossip; what is missing is
/// fetched from its owner; the root over all digests, which rides in pings and acks, finds what was lost without anybody
/// noticing. Equal events and times give equal effects. `Protocol.md` has the messages, states and invariants.
package struct MapExchange: Sendable {
    package struct Settings: Sendable {
        /// Protocol period T of the membership.
        package var period: Duration = .seconds(1)
        /// Payload of a datagram to one member.
        package var datagramBytesMax = 1_000
        package init() {}
    }

    /// Changes wait this long for others, unless they fill a delta, or their result was costly.
    ///
    /// Each member hears every delta of all: the larger the cluster, the longer they wait, so that traffic stays bounded.
    static let flushDelayMin: Duration = .seconds(1)
    static let flushDelayMax: Duration = .seconds(5)
    /// Members for whose deltas the shortest wait is paid.
    static let flushMembers = 16
    /// Seconds that a step took whose result is announced at once.
    static let urgentCost = 10.0
    /// Streams to owners at once; and one each.
    static let fetchesMax = 8
    /// More deltas than this in one flush are not gossiped: everybody fetches, pages or deltas, whatever is shorter.
    static let gossipedDeltasMax = 128
    /// The cluster has to have another size for this many periods before pages are made anew, and up to so many more,
    /// so that not all nodes do it at once.
    static let resizePeriods = 5
    static let resizeSpreadPeriods = 10
    /// A lasting difference is looked into by stream no more often than this, in periods.
    static let streamPeriods = 8
    /// A failed fetch is tried again after T, then twice as long each time, up to 2 to this power T.
    static let backoffMax = 4

    struct Peer: Sendable {
        var isLive = false
        var bootID: UInt64 = 0
        /// Since when it is not live, if it is not.
        var downSince = MonotonicInstant.zero
        var repair: Repair?
    }

    /// Something of a peer's digest is missing.
    struct Repair: Sendable {
        var dueAt: MonotonicInstant
        /// Where the digest stands at least; nil when that is not known.
        var target: MapPosition?
        var isWhole = false
        var failures = 0
        var fetch: FetchID?
        /// The answer's last part has come.
        var isAnswered = false
    }

    package let selfID: PeerID
    let settings: Settings
    package internal(set) var own: CacheMapDigest
    package internal(set) var digests: PeerDigests
    package internal(set) var counters = MapCounters()
    var peers: [PeerID: Peer] = [:]
    /// Who an outgoing stream leads to, and whether it is for summaries.
    var fetches: [FetchID: (peer: PeerID, isSummary: Bool)] = [:]
    var fetchCount: UInt64 = 0
    var effects: [Effect] = []

    var flushAt: MonotonicInstant?
    var isUrgent = false
    var clusterSize = 1
    var resizeAt: MonotonicInstant?
    var differences = RootDifferences()
    var summaryTurn = 0
    private var root: UInt32 = 0
    private var armedAt: MonotonicInstant?

    package init(selfID: PeerID, own: CacheMapDigest, hashKey: MapHashKey, settings: Settings = Settings()) {
        self.selfID = selfID
        self.own = own
        self.settings = settings
        digests = PeerDigests(hashKey: hashKey)
        root = own.position.isUntouched ? 0 : own.position.contribution(of: selfID)
    }

    /// This exchange with the counters and the stream numbers of the one that it replaces, whose answers may still come.
    package func continuing(_ former: MapExchange) -> MapExchange {
        var next = self
        next.counters = former.counters
        next.fetchCount = former.fetchCount
        return next
    }

    /// Over all live nodes' digests as they are known here: equal at two nodes that know the same.
    package var mapRoot: UInt32 { root }

    // MARK: Events

    package mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
        effects.removeAll(keepingCapacity: true)
        switch event {
        case .added(let entries): add(entries, at: now)
        case .used(let entries):
            for entry in entries { own.use(entry) }
            flushSoon(at: now)
        case .removed(let keys):
            for key in keys { own.remove(key) }
            // Told before anything is deleted.
            if own.hasChanges { flush(at: now) }
        case .delivered(let bytes, let peer): deliver(bytes, from: peer, at: now)
        case .direct(let bytes, let peer): direct(bytes, from: peer, at: now)
        case .rootDiffers(let peer): rootDiffers(peer, at: now)
        case .member(let peer, let isLive, let bootID, let size):
            setMember(peer, isLive: isLive, bootID: bootID, at: now)
            follow(clusterSize: size, at: now)
        case .fetched(let id, let bytes): fetched(id, bytes, at: now)
        case .fetchEnded(let id): fetchEnded(id, at: now)
        case .requested(let token, let bytes): request(token, bytes, at: now)
        case .timer:
            armedAt = nil
            if let due = flushAt, due <= now { flush(at: now) }
            if let due = resizeAt, due <= now { resize(at: now) }
        case .answered(let peer, let confirmed, let denied):
            if digests.note(confirmed: confirmed, denied: denied, by: peer) {
                counters.unreliable += 1
                effects.append(.notice(.unreliable(peer)))
                want(peer, isWhole: true, after: .zero, at: now)
            }
        }
        startFetches(at: now)
        updateRoot()
        arm(at: now)
        return effects
    }

    private mutating func add(_ entries: [MapEntry], at now: MonotonicInstant) {
        for entry in entries {
            own.add(entry)
            if entry.cost >= Self.urgentCost { isUrgent = true }
        }
        flushSoon(at: now)
    }

    private mutating func flushSoon(at now: MonotonicInstant) {
        guard own.hasChanges else { return }
        let isFull = own.changedBytes >= own.settings.pageBytes
        if isUrgent || isFull { flush(at: now) } else if flushAt == nil { flushAt = now + flushDelay }
    }

    private var flushDelay: Duration {
        let grown = Self.flushDelayMin * (Double(clusterSize) / Double(Self.flushMembers))
        return min(max(grown, Self.flushDelayMin), Self.flushDelayMax)
    }

    /// Announces what changed.
    mutating func flush(at now: MonotonicInstant) {
        let urgent = isUrgent
        flushAt = nil
        isUrgent = false
        guard own.hasChanges else { return }
        let epoch = own.epoch
        let deltas = own.flush(at: now)
        if own.epoch != epoch || deltas.count > Self.gossipedDeltasMax {
            announceMove()
        } else {
            for delta in deltas {
                effects.append(.publish(DigestMessage.delta(delta).encoded(), isUrgent: urgent))
            }
            counters.deltasPublished += UInt64(deltas.count)
        }
        effects.append(.save(own.saved))
    }

    private mutating func announceMove() {
        effects.append(.publish(DigestMessage.moved(own.position).encoded(), isUrgent: true))
    }

    // MARK: Members

    private mutating func setMember(_ peer: PeerID, isLive: Bool, bootID: UInt64, at now: MonotonicInstant) {
        guard peer != selfID,
            peers[peer] != nil || peers.count < PeerDigests.peersMax || isLive && forgetLongestDown()
        else { return }
        let before = peers[peer] ?? Peer()
        guard before.isLive != isLive || before.bootID != bootID else { return }
        var state = before
        state.isLive = isLive
        state.bootID = max(bootID, before.bootID)
        if !isLive { state.repair = nil }
        if !isLive, before.isLive || peers[peer] == nil { state.downSince = now }
        peers[peer] = state
        if !isLive, let id = fetch(from: peer) { abandon(id) }
        digests.setLive(peer, isLive)
        if before.bootID != 0, bootID > before.bootID { digests.setRestarted(peer) }
        if isLive { want(peer, after: spread(peer, within: settings.period / 2), at: now) }
    }

    /// Forgets the member that has been down for longest, with its digest; false when all are up.
    ///
    /// Members whose identity lived for one start only would fill the table for good.
    private mutating func forgetLongestDown() -> Bool {
        let down = peers.filter { !$0.value.isLive }
        let longest = down.min { ($0.value.downSince, $0.key) < ($1.value.downSince, $1.key) }
        guard let peer = longest?.key else { return false }
        peers[peer] = nil
        digests.forget(peer)
        return true
    }

    private mutating func follow(clusterSize: Int, at now: MonotonicInstant) {
        self.clusterSize = clusterSize
        guard own.settings.fixedRate == nil, own.rate.following(clusterSize: clusterSize) != own.rate else {
            resizeAt = nil
            return
        }
        guard resizeAt == nil else { return }
        resizeAt =
            now + settings.period * Self.resizePeriods
            + spread(selfID, within: settings.period * Self.resizeSpreadPeriods)
    }

    private mutating func resize(at now: MonotonicInstant) {
        resizeAt = nil
        let rate = own.rate.following(clusterSize: clusterSize)
        guard rate != own.rate else { return }
        flush(at: now)
        own.setRate(rate)
        announceMove()
        effects.append(.save(own.saved))
    }

    /// A wait that differs from node to node and from peer to peer.
    func spread(_ peer: PeerID, within limit: Duration) -> Duration {
        let share = SplitMix64.mix(peer.rawValue ^ SplitMix64.mix(selfID.rawValue)) >> 44
        return .nanoseconds(Int64(Double(share) / Double(1 << 20) * Double(limit.nanoseconds)))
    }

    // MARK: Root and wake

    private mutating func updateRoot() {
        let fresh = bucketRoots().reduce(0, ^)
        guard fresh != root else { return }
        root = fresh
        effects.append(.rootChanged(fresh))
    }

    /// The roots of all live nodes' digests, by the top bits of the owner's mixed id.
    func bucketRoots() -> [UInt32] {
        var roots = [UInt32](repeating: 0, count: DigestMessage.bucketCount)
        for summary in summaries() where !summary.position.isUntouched {
            roots[Self.bucket(of: summary.owner)] ^= summary.position.contribution(of: summary.owner)
        }
        return roots
    }

    static func bucket(of owner: PeerID) -> Int {
        Int(SplitMix64.mix(owner.rawValue) % UInt64(DigestMessage.bucketCount))
    }

    /// What is known of live nodes, this one included; in no order.
    func summaries() -> [MapSummary] {
        var known = digests.views.compactMap { owner, view in
            view.isUsable ? MapSummary(owner: owner, position: view.position) : nil
        }
        known.append(MapSummary(owner: selfID, position: own.position))
        return known
    }

    private mutating func arm(at now: MonotonicInstant) {
        var soonest = flushAt
        func consider(_ instant: MonotonicInstant?) {
            guard let instant else { return }
            soonest = soonest.map { min($0, instant) } ?? instant
        }
        consider(resizeAt)
        if fetches.count < Self.fetchesMax {
            for peer in peers.values {
                if let repair = peer.repair, repair.fetch == nil { consider(repair.dueAt) }
            }
        }
        guard let soonest, soonest != armedAt else { return }
        armedAt = max(soonest, now)
        effects.append(.wake(at: max(soonest, now)))
    }
}

/// Differing map roots, since when.
struct RootDifferences: Sendable {
    var since: MonotonicInstant?
    var lastAt: MonotonicInstant?
    var askedAt: MonotonicInstant?
    var streamedAt: MonotonicInstant?
}
