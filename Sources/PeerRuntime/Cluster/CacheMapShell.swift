internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import Gossip
internal import Logging

/// Drives the cache map: records and datagrams of gossip, streams and a timer in, effects out.
actor CacheMapShell {
    /// What this node says when it is asked for exact keys.
    typealias Answerer = @Sendable (HaveRequest) async -> HaveAnswer

    /// Makes the exchange of this node: from the map key, the epoch, the cluster's size and where the last run stood.
    typealias ExchangeMaker = @Sendable ([UInt8], UInt32, Int, SavedPosition?) throws -> MapExchange

    /// What goes to the membership, in the order of the effects.
    private enum Outgoing: Sendable {
        case publish([UInt8], isUrgent: Bool)
        case direct([UInt8], PeerID)
        case root(UInt32)
    }

    private static let fetchLimit = Duration.seconds(60)
    private static let timer = "cache-map-timer"
    /// Messages on their way to the membership, which takes them within milliseconds.
    private static let outgoingMax = 16_384

    private var exchange: MapExchange
    private let makeExchange: ExchangeMaker
    /// Members that are up, with their boots: what an exchange under another key has to be told.
    private var live: [PeerID: UInt64] = [:]
    private var clusterSize = 1
    private var questions: HaveQuestions
    private let cluster: ClusterShell
    private let jobs: Jobs
    private let savePath: String
    private let logger: Logger
    private let origin: ContinuousClock.Instant
    private let loadChanged: @Sendable () async -> Void
    private var answerer: Answerer?
    private var notices: MapNoticeLog
    private let (outgoing, outgoingFeed) = AsyncStream.makeStream(
        of: Outgoing.self, bufferingPolicy: .bufferingOldest(outgoingMax))

    init(
        exchange: MapExchange, makeExchange: @escaping ExchangeMaker, questions: HaveQuestions, cluster: ClusterShell,
        jobs: Jobs, savePath: String,
        origin: ContinuousClock.Instant, logger: Logger, loadChanged: @escaping @Sendable () async -> Void
    ) {
        self.exchange = exchange
        self.makeExchange = makeExchange
        self.questions = questions
        self.cluster = cluster
        self.jobs = jobs
        self.savePath = savePath
        self.origin = origin
        self.logger = logger
        notices = MapNoticeLog(logger: logger)
        self.loadChanged = loadChanged
    }

    private var now: MonotonicInstant { MonotonicInstant(nanoseconds: (ContinuousClock.now - origin).nanoseconds) }

    /// Starts what goes on until the jobs are stopped; `answerer` is asked by peers.
    func start(_ answerer: @escaping Answerer) {
        self.answerer = answerer
        outgoingFeed.yield(.root(exchange.mapRoot))
        jobs.start { [outgoing, cluster] in
            for await item in outgoing {
                switch item {
                case .publish(let bytes, let isUrgent): await cluster.publish(bytes, isUrgent: isUrgent)
                case .direct(let bytes, let peer): await cluster.sendDirect(bytes, to: peer)
                case .root(let root): await cluster.setMapRoot(root)
                }
            }
        }
    }

    // MARK: View

    /// Keys that this node holds.
    var keyCount: Int { exchange.own.count }

    /// Where this node's digest stands, and how many keys it had then; rides in its holdings.
    var position: (epoch: UInt32, sequence: UInt32, count: Int) {
        (exchange.own.epoch, exchange.own.sequence, exchange.own.announcedKeyCount)
    }

    /// How many of these live peers have said that their digest is further than this node knows it: what they made
    /// lately is not found here yet.
    func digestsBehind(_ members: [Member]) -> Int {
        members.count { member in
            guard member.isUp, member.id != cluster.selfID, member.holdings.cacheKeys > 0 else { return false }
            guard let known = exchange.digests.position(of: member.id) else { return true }
            return (known.epoch, known.sequence) < (member.holdings.mapEpoch, member.holdings.mapSequence)
        }
    }

    var counters: MapCounters { exchange.counters }

    /// Peers that say they hold the key; each has to be asked.
    func holders(of key: CacheKey) -> [PeerID] { exchange.digests.holders(of: key) }

    // MARK: Own keys

    /// Announces keys whose records are durable.
    func add(_ entries: [MapEntry]) async {
        handle(.added(entries))
        await loadChanged()
    }

    /// Notes that results which this node holds were used now; returns at once.
    nonisolated func used(_ entries: [MapEntry]) {
        jobs.start { await self.noteUse(entries) }
    }

    private func noteUse(_ entries: [MapEntry]) { handle(.used(entries)) }

    /// Takes keys back, a protocol period or more before their records are deleted.
    func remove(_ keys: [CacheKey]) async {
        handle(.removed(keys))
        await loadChanged()
    }

    // MARK: Cluster

    func received(_ record: [UInt8], from peer: PeerID) { handle(.delivered(record, from: peer)) }
    func receivedDirect(_ record: [UInt8], from peer: PeerID) { handle(.direct(record, from: peer)) }
    func rootDiffers(_ peer: PeerID) { handle(.rootDiffers(peer)) }

    func memberChanged(_ change: MemberChange, clusterSize: Int) {
        guard change.member.id != cluster.selfID else { return }
        self.clusterSize = clusterSize
        live[change.member.id] = change.member.isUp ? change.member.bootID : nil
        handle(
            .member(
                change.member.id, isLive: change.member.isUp, bootID: change.member.bootID, clusterSize: clusterSize))
    }

    /// Takes another map key: the hashes of all digests are others now.
    ///
    /// Digests of peers are forgotten and fetched again, and peers fetch this node's, under a new epoch.
    func rekey(_ mapKey: [UInt8]) async {
        do {
            let fresh = try makeExchange(mapKey, exchange.own.epoch &+ 1, clusterSize, nil)
            // Ends the streams of the former one.
            for (peer, boot) in live.sorted(by: { $0.key < $1.key }) {
                handle(.member(peer, isLive: false, bootID: boot, clusterSize: clusterSize))
            }
            exchange = fresh.continuing(exchange)
        } catch {
            return logger.error("the cache map does not take the new key", metadata: ["error": "\(error)"])
        }
        outgoingFeed.yield(.root(exchange.mapRoot))
        save(exchange.own.saved)
        for (peer, boot) in live.sorted(by: { $0.key < $1.key }) {
            handle(.member(peer, isLive: true, bootID: boot, clusterSize: clusterSize))
        }
        logger.notice("the cache map is made anew under the cluster's map key")
        await loadChanged()
    }

    /// Serves a peer that lacks a part of what this node knows.
    nonisolated func serve(_ stream: any PeerStream) async throws {
        guard let message = try await stream.receive() else { return }
        guard let parts = await answer(message) else {
            throw PeerCallError.malformed("a digest message of the wrong kind")
        }
        for part in parts { try await stream.send(part) }
        await stream.finish()
    }

    private func answer(_ message: [UInt8]) -> [[UInt8]]? {
        var answer: [[UInt8]]?
        for effect in exchange.handle(.requested(token: 0, message), at: now) {
            if case .answer(_, let parts) = effect { answer = parts } else { perform(effect) }
        }
        return answer
    }

    // MARK: Exact questions

    /// The exact word of `peer` on a key, by a datagram that many questions share; nil when none came in time.
    func ask(_ key: CacheKey, at peer: PeerID) async -> HaveQuestions.Answer? {
        await withCheckedContinuation { continuation in
            guard questions.add(key, peer, continuation) else { return }
            // The solver asks for many keys in one turn: they go together.
            jobs.start {
                await Task.yield()
                await self.sendQuestions(to: peer)
            }
        }
    }

    private func sendQuestions(to peer: PeerID) {
        perform(questions.send(to: peer, at: now))
    }

    private func perform(_ effects: [HaveExchange.Effect]) {
        for effect in effects {
            switch effect {
            case .send(let request, let peer):
                outgoingFeed.yield(.direct(DigestMessage.have(request).encoded(), peer))
                wakeForAnswer()
            case .answered(let id, let answer, let peer):
                let (confirmed, denied) = questions.finish(id, answer)
                handle(.answered(peer, confirmed: confirmed, denied: denied))
            case .unanswered(let id, _): questions.giveUp(id)
            }
        }
    }

    private func wakeForAnswer() {
        jobs.start {
            do {
                try await Task.sleep(for: HaveExchange.answerLimit)
            } catch {
                // The node stops: who waits is answered all the same.
            }
            await self.expireQuestions()
        }
    }

    private func expireQuestions() { perform(questions.expire(at: now)) }

    private func answer(_ request: HaveRequest, to peer: PeerID) {
        guard let answerer else { return }
        jobs.start {
            let answer = await answerer(request)
            await self.send(answer, to: peer)
        }
    }

    private func send(_ answer: HaveAnswer, to peer: PeerID) {
        outgoingFeed.yield(.direct(DigestMessage.haveAnswer(answer).encoded(), peer))
    }

    // MARK: Effects

    private func handle(_ event: MapExchange.Event) {
        for effect in exchange.handle(event, at: now) { perform(effect) }
    }

    private func perform(_ effect: MapExchange.Effect) {
        switch effect {
        case .publish(let bytes, let isUrgent): outgoingFeed.yield(.publish(bytes, isUrgent: isUrgent))
        case .direct(let bytes, let peer): outgoingFeed.yield(.direct(bytes, peer))
        case .rootChanged(let root): outgoingFeed.yield(.root(root))
        case .fetch(let id, let peer, let message):
            jobs.start(Self.name(id)) { await self.fetch(id, from: peer, message) }
        case .abandon(let id): jobs.cancel(Self.name(id))
        case .answer: break
        case .save(let position): save(position)
        case .wake(let instant): wake(at: instant)
        case .asked(let request, let peer): answer(request, to: peer)
        case .answered(let answer, let peer): perform(questions.answered(answer, by: peer))
        case .notice(let notice): notices.log(notice)
        }
    }

    private static func name(_ id: MapExchange.FetchID) -> String { "cache-map-fetch-\(id.rawValue)" }

    private func fetch(_ id: MapExchange.FetchID, from peer: PeerID, _ message: [UInt8]) async {
        do {
            try await withDeadline(Self.fetchLimit, timeout: PeerCallError.timedOut(service: "digests", peer)) {
                let stream = try await self.cluster.open(.digests, to: peer)
                try await withTaskCancellationHandler {
                    defer { stream.reset() }
                    try await stream.send(message)
                    await stream.finish()
                    while let part = try await stream.receive() { await self.fetched(id, part) }
                } onCancel: {
                    stream.reset()
                }
            }
        } catch {
            logger.debug("a cache digest could not be fetched", metadata: ["from": "\(peer)", "error": "\(error)"])
        }
        handle(.fetchEnded(id))
    }

    private func fetched(_ id: MapExchange.FetchID, _ part: [UInt8]) { handle(.fetched(id, part)) }

    private func wake(at instant: MonotonicInstant) {
        let deadline = origin + .nanoseconds(instant.nanoseconds)
        jobs.cancel(Self.timer)
        jobs.start(Self.timer) {
            do {
                try await Task.sleep(until: deadline, clock: .continuous)
                await self.woke()
            } catch {
                // Another wake replaced this one.
            }
        }
    }

    private func woke() { handle(.timer) }

    private func save(_ position: SavedPosition) {
        do {
            try Data(position.encoded()).write(to: URL(fileURLWithPath: savePath), options: .atomic)
        } catch {
            // The next start begins a new epoch, which costs a fetch by each peer.
            logger.warning("the cache map's position is not written", metadata: ["error": "\(error)"])
        }
    }

    /// What the last run wrote down; nil begins a new epoch.
    static func saved(_ path: String) -> SavedPosition? {
        FileManager.default.contents(atPath: path).flatMap { try? SavedPosition(decoding: [UInt8]($0)) }
    }
}
