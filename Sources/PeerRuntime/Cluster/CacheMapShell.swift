internal import CacheMap
internal import ClusterModel
internal import Gossip
internal import Logging

/// Keeps this node's cache-map digest and its view of the peers': deltas by gossip, pages by stream.
actor CacheMapShell {
    private var own: CacheMapDigest
    private var peers: PeerDigests
    private let cluster: ClusterShell
    private let jobs: Jobs
    private let logger: Logger
    private let loadChanged: @Sendable () async -> Void
    /// Peers whose digest is being fetched: one request each at a time.
    private var fetching: Set<PeerID> = []

    init(
        own: CacheMapDigest, peers: PeerDigests, cluster: ClusterShell, jobs: Jobs, logger: Logger,
        loadChanged: @escaping @Sendable () async -> Void
    ) {
        self.own = own
        self.peers = peers
        self.cluster = cluster
        self.jobs = jobs
        self.logger = logger
        self.loadChanged = loadChanged
    }

    /// How others find out that they miss a delta: rides in the holdings.
    var position: (epoch: UInt32, sequence: UInt32, count: Int) { (own.epoch, own.sequence, own.count) }

    /// Peers that say they hold the key; each has to be asked.
    func holders(of key: CacheKey) -> [PeerID] { peers.holders(of: key) }

    /// Announces keys whose records are durable.
    func add(_ keys: [CacheKey]) async {
        for key in keys { own.add(key) }
        await publish()
    }

    /// Takes keys back, before their records are deleted.
    func remove(_ keys: [CacheKey]) async {
        for key in keys { own.remove(key) }
        await publish()
    }

    private func publish() async {
        for delta in own.flush() { await cluster.publish(DigestMessage.delta(delta).encoded()) }
        await loadChanged()
    }

    /// A user record of gossip.
    func received(_ record: [UInt8], from peer: PeerID) {
        do {
            guard case .delta(let delta) = try DigestMessage(decoding: record) else { return }
            follow(peers.apply(delta, from: peer), peer)
        } catch {
            logger.debug("a malformed cache announcement", metadata: ["from": "\(peer)", "error": "\(error)"])
        }
    }

    func memberChanged(_ change: MemberChange, clusterSize: Int) {
        let peer = change.member.id
        guard peer != cluster.selfID else { return }
        own.setClusterSize(clusterSize)
        peers.setLive(peer, change.member.isUp)
        guard change.member.isUp else { return }
        let holdings = change.member.holdings
        guard holdings.mapEpoch > 0 else { return }
        follow(peers.observe(peer, epoch: holdings.mapEpoch, sequence: holdings.mapSequence), peer)
    }

    private func follow(_ outcome: PeerDigests.Outcome, _ peer: PeerID) {
        guard case .incomplete(let request) = outcome, fetching.insert(peer).inserted else { return }
        jobs.start { await self.fetch(request, from: peer) }
    }

    private func fetch(_ request: DigestRequest, from peer: PeerID) async {
        defer { fetching.remove(peer) }
        do {
            let stream = try await cluster.open(.digests, to: peer)
            defer { stream.reset() }
            try await stream.send(DigestMessage.request(request).encoded())
            await stream.finish()
            while let message = try await stream.receive() {
                guard case .pages(let pages) = try DigestMessage(decoding: message) else {
                    throw PeerCallError.malformed("a digest message of the wrong kind")
                }
                _ = peers.apply(pages, from: peer)
                if pages.isLast { break }
            }
        } catch {
            // The peer's next load record shows the gap again.
            logger.debug("a cache digest could not be fetched", metadata: ["from": "\(peer)", "error": "\(error)"])
        }
    }

    /// Serves a peer that lacks a part of this node's digest.
    nonisolated func serve(_ stream: any PeerStream) async throws {
        guard let message = try await stream.receive(),
            case .request(let request) = try DigestMessage(decoding: message)
        else { throw PeerCallError.malformed("a digest message of the wrong kind") }
        for part in await own.answer(request) { try await stream.send(DigestMessage.pages(part).encoded()) }
        await stream.finish()
    }
}
