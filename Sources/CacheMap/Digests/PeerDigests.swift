package import ClusterModel

/// What the peers hold, as far as their digests tell; a hit is a hint and must be confirmed with the peer.
package struct PeerDigests: Sendable {
    /// What an incoming message did.
    package enum Outcome: Hashable, Sendable {
        case applied
        /// Known already, or of an epoch that is over.
        case ignored
        /// Deltas are missing.
        case behind
        /// Nothing that is kept can be trusted or extended: everything is needed.
        case unusable(Fault)
    }

    package enum Fault: Hashable, Sendable {
        /// No digest of this epoch was known.
        case unknown
        /// The root after a delta is not the owner's.
        case damaged
        /// So many changes that pages are shorter.
        case full
        /// Pages that do not cover the hash space once, or too many.
        case refused
    }

    /// Members that may have a digest here.
    package static let peersMax = 4_096
    /// Pages of all peers together, some 200 MB.
    ///
    /// Digests of peers that are down make room for others.
    package static let pagesMax = 196_608
    /// Answers after which a peer's share of denials is judged.
    package static let judgedAnswers = 200

    private struct Answers: Sendable {
        var confirmed = 0
        var denied = 0
    }

    private let hashKey: MapHashKey
    private(set) var views: [PeerID: PeerView] = [:]
    /// Pages of answers that arrive in parts.
    private var arriving: [PeerID: [DigestPage]] = [:]
    /// Deltas that came during a fetch.
    private var early: [PeerID: [MapDelta]] = [:]
    private var answers: [PeerID: Answers] = [:]
    private var pageCount = 0
    /// Times that a peer with a digest went down.
    private var downs: UInt64 = 0

    package init(hashKey: MapHashKey) { self.hashKey = hashKey }

    // MARK: In

    /// A delta that came by gossip from its owner's present boot.
    package mutating func apply(_ delta: MapDelta, from peer: PeerID) -> Outcome {
        if early[peer] != nil, early[peer, default: []].count < PeerView.waitingMax {
            early[peer, default: []].append(delta)
        }
        guard let view = views[peer], view.isConfirmed else {
            return begin(with: delta, from: peer)
        }
        if delta.epoch < view.position.epoch { return .ignored }
        if delta.epoch > view.position.epoch { return begin(with: delta, from: peer) }
        switch views[peer]?.apply(delta) {
        case .applied: return .applied
        case .known, nil: return .ignored
        case .gap: return .behind
        case .damaged: return .unusable(.damaged)
        case .full: return .unusable(.full)
        }
    }

    /// The first delta of an epoch says by its root whether the digest was empty before.
    private mutating func begin(with delta: MapDelta, from peer: PeerID) -> Outcome {
        var fresh = PeerView(epoch: delta.epoch)
        guard delta.sequence == 1, views[peer] != nil || views.count < Self.peersMax,
            fresh.apply(delta) == .applied
        else { return .unusable(.unknown) }
        fresh.isLive = views[peer]?.isLive ?? true
        fresh.downOrder = views[peer]?.downOrder ?? 0
        store(fresh, of: peer)
        return .applied
    }

    /// A fetch from `peer` begins: deltas that come meanwhile are applied behind its answer.
    package mutating func beginFetch(from peer: PeerID) {
        arriving[peer] = []
        early[peer] = []
    }

    package mutating func endFetch(from peer: PeerID) {
        arriving[peer] = nil
        early[peer] = nil
    }

    /// A part of a peer's answer to a request.
    ///
    /// The owner's word on itself counts whatever was known before: its sequence may be lower after a crash.
    package mutating func apply(_ answer: DigestPages, from peer: PeerID) -> Outcome {
        var pages = answer.isFirst ? [] : arriving[peer] ?? []
        guard pages.count + answer.pages.count <= PeerView.pagesMax else {
            arriving[peer] = []
            return .unusable(.refused)
        }
        pages += answer.pages
        guard answer.isLast else {
            arriving[peer] = pages
            return .applied
        }
        arriving[peer] = []
        let outcome = answer.isWhole ? takeWhole(pages, answer, peer) : takeChanges(pages, answer, peer)
        guard outcome == .applied else { return outcome }
        for delta in early[peer, default: []].sorted(by: { $0.sequence < $1.sequence })
        where delta.epoch == answer.position.epoch {
            _ = views[peer]?.apply(delta)
        }
        return views[peer]?.hasGap == true ? .behind : .applied
    }

    private mutating func takeWhole(_ pages: [DigestPage], _ answer: DigestPages, _ peer: PeerID) -> Outcome {
        guard views[peer] != nil || views.count < Self.peersMax, var view = PeerView(pages, answer),
            makeRoom(for: view, of: peer)
        else { return .unusable(.refused) }
        view.isLive = views[peer]?.isLive ?? true
        view.downOrder = views[peer]?.downOrder ?? 0
        store(view, of: peer)
        answers[peer] = nil
        return .applied
    }

    private mutating func takeChanges(_ pages: [DigestPage], _ answer: DigestPages, _ peer: PeerID) -> Outcome {
        guard var view = views[peer], view.position.epoch == answer.position.epoch else {
            return .unusable(.unknown)
        }
        view.isConfirmed = true
        // Gossip closed the gap meanwhile: older pages would undo what it brought.
        if view.position.sequence <= answer.position.sequence {
            if !pages.isEmpty, !view.replace(pages, answer) || !makeRoom(for: view, of: peer) {
                return .unusable(.refused)
            }
            for delta in answer.deltas where delta.epoch == answer.position.epoch {
                guard view.apply(delta) != .damaged else { return .unusable(.damaged) }
            }
            guard view.position == answer.position || view.position.sequence > answer.position.sequence else {
                return .unusable(.damaged)
            }
        }
        store(view, of: peer)
        return .applied
    }

    /// Whether the pages of `view` have room beside those of all others.
    ///
    /// Digests of peers that are down go for it, the one that has been down for longest first; none when that is not
    /// enough.
    private mutating func makeRoom(for view: PeerView, of peer: PeerID) -> Bool {
        let excess =
            pageCount - (views[peer]?.pages.pages.count ?? 0) + view.pages.pages.count - Self.pagesMax
        guard excess > 0 else { return true }
        var freed = 0
        var gone: [PeerID] = []
        let down = views.filter { !$0.value.isLive && $0.key != peer && !$0.value.pages.pages.isEmpty }
            .sorted { $0.value.downOrder < $1.value.downOrder }
        for (other, unused) in down where freed < excess {
            freed += unused.pages.pages.count
            gone.append(other)
        }
        guard freed >= excess else { return false }
        for other in gone { forget(other) }
        return true
    }

    private mutating func store(_ view: PeerView, of peer: PeerID) {
        pageCount += view.pages.pages.count - (views[peer]?.pages.pages.count ?? 0)
        views[peer] = view
    }

    /// Somebody's word on where a digest stands.
    package mutating func observe(_ position: MapPosition, of owner: PeerID) -> Outcome {
        guard let view = views[owner] else {
            guard position.isUntouched, position.epoch > 0, views.count < Self.peersMax else {
                return .unusable(.unknown)
            }
            views[owner] = PeerView(epoch: position.epoch)
            return .applied
        }
        if view.position == position { return .applied }
        if view.position.isBehind(position) {
            return view.position.epoch == position.epoch ? .behind : .unusable(.unknown)
        }
        let isSamePlace = (view.position.epoch, view.position.sequence) == (position.epoch, position.sequence)
        return isSamePlace ? .unusable(.damaged) : .ignored
    }

    /// A peer that is not live keeps its digest while there is room; it is not used until the peer is back.
    package mutating func setLive(_ peer: PeerID, _ isLive: Bool) {
        guard let view = views[peer], view.isLive != isLive else { return }
        views[peer]?.isLive = isLive
        guard !isLive else { return }
        downs += 1
        views[peer]?.downOrder = downs
    }

    /// The peer runs under a new boot: its digest is not used until that has said where it stands.
    package mutating func setRestarted(_ peer: PeerID) { views[peer]?.isConfirmed = false }

    package mutating func forget(_ peer: PeerID) {
        pageCount -= views[peer]?.pages.pages.count ?? 0
        views[peer] = nil
        answers[peer] = nil
        endFetch(from: peer)
    }

    /// Counts exact answers to questions that the peer's digest caused.
    ///
    /// True when it denies so many more than its rate explains that its pages have to be fetched again.
    package mutating func note(confirmed: Int, denied: Int, by peer: PeerID) -> Bool {
        var count = answers[peer] ?? Answers()
        count.confirmed += confirmed
        count.denied += denied
        answers[peer] = count
        guard count.confirmed + count.denied >= Self.judgedAnswers, let rate = views[peer]?.rate.rate else {
            return false
        }
        answers[peer] = nil
        return Double(count.denied) > (3 * rate + 0.02) * Double(count.confirmed + count.denied)
    }

    // MARK: Questions

    /// The live peers that say they hold each of `keys`, sorted by id.
    package func holders(of keys: [CacheKey]) -> [[PeerID]] {
        let hashes = keys.map(hashKey.hash)
        var found = [[PeerID]](repeating: [], count: keys.count)
        for (peer, view) in views where view.isUsable {
            for index in hashes.indices where view.mayHold(hashes[index]) { found[index].append(peer) }
        }
        for index in found.indices where found[index].count > 1 { found[index].sort() }
        return found
    }

    package func holders(of key: CacheKey) -> [PeerID] { holders(of: [key])[0] }

    /// Whether `peer` is live and says that it holds `key`.
    package func mayHold(_ peer: PeerID, _ key: CacheKey) -> Bool {
        views[peer].map { $0.isUsable && $0.mayHold(hashKey.hash(key)) } ?? false
    }

    /// How far the digest of `peer` is known; nil when it cannot be used.
    package func position(of peer: PeerID) -> MapPosition? {
        views[peer].flatMap { $0.isUsable ? $0.position : nil }
    }

    /// What the digest of `peer` promises, and whether it names only its most valuable keys.
    package func promise(of peer: PeerID) -> (rate: FalseHitRate, isPartial: Bool)? {
        views[peer].map { ($0.rate, $0.isPartial) }
    }

    /// Digests that can be used.
    package var usableCount: Int { views.values.count { $0.isUsable } }

    func request(to peer: PeerID) -> DigestRequest { views[peer]?.request ?? .everything }
}
