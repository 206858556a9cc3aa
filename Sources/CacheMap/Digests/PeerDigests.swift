package import ClusterModel

/// What the peers hold, as far as their digests tell; a hit is a hint and must be confirmed with the peer.
package struct PeerDigests: Sendable {
    /// What an incoming message did.
    package enum Outcome: Hashable, Sendable {
        case applied
        /// Known already, or of an epoch that is over.
        case ignored
        /// Something is missing: send this to the peer by stream.
        case incomplete(DigestRequest)
    }

    private struct View: Sendable {
        var epoch: UInt32 = 0
        var sequence: UInt32 = 0
        /// All pages have arrived, and every delta since.
        var isUsable = false
        var isLive = true
        /// Disjoint, sorted by prefix.
        var pages: [DigestPage] = []
        /// Truncated hashes that came or went since the pages.
        var added: Set<UInt64> = []
        var removed: Set<UInt64> = []
        /// Deltas beyond a gap, by sequence.
        var waiting: [UInt32: MapDelta] = [:]
        /// Of the answer that is arriving in parts.
        var arriving: [DigestPage] = []

        var request: DigestRequest {
            isUsable ? DigestRequest(epoch: epoch, sequence: sequence) : DigestRequest(epoch: 0, sequence: 0)
        }
    }

    /// Deltas beyond a gap that are kept for later.
    private static let waitingMax = 64
    /// Changes beyond the pages that are kept; then whole pages are asked for, which are shorter.
    package static let changesMax = 65_536
    /// Pages of one peer: bounds what it can make this node keep to 16 MB.
    package static let pagesMax = 16_384
    package static let peersMax = 4_096

    private let hashKey: MapHashKey
    private var views: [PeerID: View] = [:]

    package init(hashKey: MapHashKey) { self.hashKey = hashKey }

    // MARK: In

    /// A delta that came by gossip.
    package mutating func apply(_ delta: MapDelta, from peer: PeerID) -> Outcome {
        guard var view = view(of: peer), delta.epoch >= view.epoch else { return .ignored }
        defer { views[peer] = view }
        // A new history: nothing that is held of the old one counts.
        if delta.epoch > view.epoch { view = View(epoch: delta.epoch, isLive: view.isLive) }
        guard !view.isUsable || delta.sequence > view.sequence else { return .ignored }
        guard view.isUsable, delta.sequence == view.sequence + 1 else {
            if view.waiting.count < Self.waitingMax { view.waiting[delta.sequence] = delta }
            return .incomplete(view.request)
        }
        Self.advance(&view, by: delta)
        Self.drain(&view)
        return outcome(view)
    }

    /// A part of a peer's answer to a request.
    package mutating func apply(_ answer: DigestPages, from peer: PeerID) -> Outcome {
        guard var view = view(of: peer), answer.epoch >= view.epoch else { return .ignored }
        defer { views[peer] = view }
        if answer.epoch > view.epoch { view = View(epoch: answer.epoch, isLive: view.isLive) }
        guard answer.isWhole || view.isUsable else { return .incomplete(view.request) }
        if answer.isFirst { view.arriving = [] }
        guard view.arriving.count + answer.pages.count <= Self.pagesMax else {
            view.arriving = []
            return .ignored
        }
        view.arriving += answer.pages
        guard answer.isLast else { return .applied }
        let fresh = view.arriving
        view.arriving = []
        // Gossip closed the gap meanwhile: older pages would undo what it brought.
        guard answer.isWhole || answer.sequence >= view.sequence else { return .ignored }
        guard Self.take(fresh, at: answer.sequence, isWhole: answer.isWhole, into: &view) else {
            view = View(epoch: answer.epoch, isLive: view.isLive)
            return .incomplete(view.request)
        }
        for delta in answer.deltas where delta.epoch == view.epoch && delta.sequence == view.sequence + 1 {
            Self.advance(&view, by: delta)
        }
        Self.drain(&view)
        return view.sequence >= answer.sequence ? outcome(view) : .incomplete(DigestRequest(epoch: 0, sequence: 0))
    }

    /// What the peer says of its own digest in its load record; finds a lost last delta.
    package mutating func observe(_ peer: PeerID, epoch: UInt32, sequence: UInt32) -> Outcome {
        guard epoch > 0, let view = view(of: peer) else { return .ignored }
        views[peer] = view
        if view.isUsable, (view.epoch, view.sequence) >= (epoch, sequence) { return .applied }
        return epoch < view.epoch ? .ignored : .incomplete(view.request)
    }

    /// A peer that is not live keeps its digest, which is not used until it is back.
    package mutating func setLive(_ peer: PeerID, _ isLive: Bool) { views[peer]?.isLive = isLive }

    package mutating func forget(_ peer: PeerID) { views[peer] = nil }

    // MARK: Questions

    /// The live peers that say they hold `key`, sorted by id.
    package func holders(of key: CacheKey) -> [PeerID] {
        let hash = hashKey.hash(key)
        return views.filter { Self.mayHold($0.value, hash) }.map(\.key).sorted()
    }

    /// Whether `peer` is live and says that it holds `key`.
    package func mayHold(_ peer: PeerID, _ key: CacheKey) -> Bool {
        views[peer].map { Self.mayHold($0, hashKey.hash(key)) } ?? false
    }

    /// How far the digest of `peer` is known; nil when it cannot be used.
    package func position(of peer: PeerID) -> DigestRequest? {
        views[peer].flatMap { $0.isUsable ? $0.request : nil }
    }

    // MARK: Machinery

    private func view(of peer: PeerID) -> View? { views[peer] ?? (views.count < Self.peersMax ? View() : nil) }

    private static func mayHold(_ view: View, _ hash: UInt64) -> Bool {
        guard view.isUsable, view.isLive else { return false }
        let short = MapDelta.truncated(hash)
        if view.added.contains(short) { return true }
        guard !view.removed.contains(short) else { return false }
        return page(of: hash, in: view.pages)?.mayContain(hash) ?? false
    }

    /// The page of sorted, disjoint ones that covers `hash`.
    private static func page(of hash: UInt64, in pages: [DigestPage]) -> DigestPage? {
        let place = firstPlace(after: hash, in: pages)
        return place > 0 && pages[place - 1].prefix.contains(hash) ? pages[place - 1] : nil
    }

    /// Index of the first page that begins behind `hash`.
    private static func firstPlace(after hash: UInt64, in pages: [DigestPage]) -> Int {
        var (low, high) = (0, pages.count)
        while low < high {
            let middle = (low + high) / 2
            if pages[middle].prefix.bits <= hash { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private static func advance(_ view: inout View, by delta: MapDelta) {
        view.sequence = delta.sequence
        for hash in delta.adds {
            view.added.insert(hash)
            view.removed.remove(hash)
        }
        for hash in delta.removes {
            view.removed.insert(hash)
            view.added.remove(hash)
        }
    }

    /// Applies the deltas that waited for a gap to close.
    private static func drain(_ view: inout View) {
        while let delta = view.waiting.removeValue(forKey: view.sequence + 1) { advance(&view, by: delta) }
        let sequence = view.sequence
        view.waiting = view.waiting.filter { $0.key > sequence }
    }

    private func outcome(_ view: View) -> Outcome {
        if view.added.count + view.removed.count > Self.changesMax {
            return .incomplete(DigestRequest(epoch: 0, sequence: 0))
        }
        return view.waiting.isEmpty ? .applied : .incomplete(view.request)
    }

    /// Puts fresh pages in the place of those they overlap; false unless the result covers every hash once.
    private static func take(_ fresh: [DigestPage], at sequence: UInt32, isWhole: Bool, into view: inout View) -> Bool {
        // Deltas alone follow in the same answer.
        guard isWhole || !fresh.isEmpty else { return true }
        let sorted = fresh.sorted { ($0.prefix.bits, $0.prefix.depth) < ($1.prefix.bits, $1.prefix.depth) }
        let kept = isWhole ? [] : view.pages.filter { !overlaps($0.prefix, sorted) }
        let all = (kept + sorted).sorted { $0.prefix.bits < $1.prefix.bits }
        guard covers(all) else { return false }
        view.pages = all
        let shift: UInt64 = 64 - MapDelta.hashBits
        view.added = isWhole ? [] : view.added.filter { page(of: $0 << shift, in: sorted) == nil }
        view.removed = isWhole ? [] : view.removed.filter { page(of: $0 << shift, in: sorted) == nil }
        view.isUsable = true
        view.sequence = sequence
        return true
    }

    private static func overlaps(_ prefix: DigestPrefix, _ sorted: [DigestPage]) -> Bool {
        let place = firstPlace(after: prefix.last, in: sorted)
        return place > 0 && sorted[place - 1].prefix.overlaps(prefix)
    }

    /// Whether sorted pages cover the hash space without gap or overlap.
    private static func covers(_ pages: [DigestPage]) -> Bool {
        var next: UInt64? = 0
        for page in pages {
            guard page.prefix.bits == next else { return false }
            let (end, overflow) = page.prefix.last.addingReportingOverflow(1)
            next = overflow ? nil : end
        }
        return next == nil
    }
}
