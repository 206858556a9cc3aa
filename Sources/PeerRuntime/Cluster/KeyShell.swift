internal import ClusterKeys
internal import ClusterModel
internal import Gossip
internal import Logging
internal import Sodium
internal import Wire

/// Carries out what `KeyRotation` decides: exchanges rings over links, writes the ring down and lets the links use it.
actor KeyShell {
    private typealias Rotation = KeyRotation<ClusterKey>

    private struct Exchange: Sendable {
        var number: UInt64
        var peer: PeerID
        var address: PeerAddress
        var message: [UInt8]
    }

    /// What may happen often and is logged once a minute.
    private enum Cause: Hashable { case ringRefused }

    private static let exchangeLimit = Duration.seconds(5)

    private let links: PeerLinks
    private let cluster: ClusterShell
    private let path: String
    private let logger: Logger
    private let loadChanged: @Sendable () async -> Void
    private let mapKeyChanged: @Sendable ([UInt8]) async -> Void
    private let origin = ContinuousClock.now
    private var rotation: Rotation
    /// What the links use.
    private var used: ClusterKeyRing
    /// Under way while the links do not use the newest ring yet.
    private var telling: Task<Void, Never>?
    private var wakeAt = MonotonicInstant.zero
    private var sleep: Task<Void, Never>?
    private let (exchanged, exchangeFeed) = AsyncStream.makeStream(of: Exchange.self)
    private var tokens: UInt64 = 0
    /// Peers that wait for this node's ring, while an event of theirs is handled.
    private var answers: [UInt64: ClusterKeyRing] = [:]
    private var isOver = false
    private var causes = CauseLog<Cause>()
    /// Operators that wait, by the token of their order.
    private var waiting: [UInt64: CheckedContinuation<Void, any Error>] = [:]

    /// `ring` is what the links use now; changes go to `path`.
    init(
        ring: ClusterKeyRing, links: PeerLinks, cluster: ClusterShell, path: String, graceSeconds: UInt64,
        logger: Logger, loadChanged: @escaping @Sendable () async -> Void,
        mapKeyChanged: @escaping @Sendable ([UInt8]) async -> Void
    ) {
        rotation = Rotation(ring: ring, settings: Rotation.Settings(graceSeconds: graceSeconds))
        used = ring
        self.links = links
        self.cluster = cluster
        self.path = path
        self.logger = logger
        self.loadChanged = loadChanged
        self.mapKeyChanged = mapKeyChanged
    }

    /// What the load record shows of the ring.
    var keySet: UInt16 { rotation.keySet }
    /// Rings exchanged with peers, and those that failed, since the start.
    var exchanges: UInt64 { rotation.exchangesDone }
    var exchangesFailed: UInt64 { rotation.exchangesFailed }

    var view: [KeyView] {
        rotation.ring.entries.enumerated().map { index, entry in
            KeyView(
                fingerprint: "\(entry.fingerprint)", state: entry.isRetired ? .retired : index == 0 ? .seals : .opens,
                generation: entry.generation, retiredUntil: entry.retiredUntil)
        }
    }

    // MARK: Life

    /// Keeps the ring equal to the others' until the task is cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                for await other in self.links.otherKeys { await self.handle(.otherKey(other.peer, other.address)) }
            }
            group.addTask { await self.keepTime() }
            for await exchange in exchanged { group.addTask { await self.carryOut(exchange) } }
        }
        isOver = true
        for (_, operators) in waiting { operators.resume(throwing: CancellationError()) }
        waiting = [:]
    }

    private func keepTime() async {
        // A node without a key has nothing to tell.
        while !Task.isCancelled, rotation.ring.isSecret {
            handle(.timer(await peers()))
            let duration = wakeAt - moment.now
            guard duration > .zero else { continue }
            let sleep = Task { _ = try? await Task.sleep(for: duration) }
            self.sleep = sleep
            await withTaskCancellationHandler {
                await sleep.value
            } onCancel: {
                sleep.cancel()
            }
        }
    }

    private func peers() async -> [Rotation.Peer] {
        await cluster.allMembers.filter { $0.id != cluster.selfID && $0.state != .left }.map {
            Rotation.Peer(
                id: $0.id, address: $0.address, name: $0.name, isUp: $0.isUp, keySet: $0.load.keySet)
        }
    }

    private var moment: Rotation.Moment {
        Rotation.Moment(
            now: MonotonicInstant(nanoseconds: (ContinuousClock.now - origin).nanoseconds),
            unixSeconds: PeerLinks.unixSeconds)
    }

    private func handle(_ event: Rotation.Event) {
        let refused = rotation.ringsRefused
        let effects = rotation.handle(event, at: moment)
        if rotation.ringsRefused > refused { logRefusal() }
        for effect in effects {
            switch effect {
            case .exchange(let number, let peer, let address, let ring):
                exchangeFeed.yield(
                    Exchange(number: number, peer: peer, address: address, message: ring.encoded()))
            case .answer(let token, let ring): answers[token] = ring
            case .adopt(let ring, let cause):
                // The rest of the effects follow from a ring that there is not.
                guard keep(ring, cause) else { return handle(.notKept) }
            case .agreed(let address): Task { await links.keysAgreed(at: address) }
            case .finish(let token, let error):
                guard let asker = waiting.removeValue(forKey: token) else { break }
                if let error { asker.resume(throwing: error) } else { asker.resume() }
            case .wake(let instant):
                if instant < wakeAt { sleep?.cancel() }
                wakeAt = instant
            }
        }
    }

    // MARK: Effects

    private func keep(_ ring: ClusterKeyRing, _ cause: Rotation.Cause) -> Bool {
        do {
            try ring.keep(at: path)
        } catch {
            logger.error("the key ring is not kept", metadata: ["path": "\(path)", "error": "\(error)"])
            return false
        }
        rotation.wasKept()
        logger.notice(
            "the cluster keys changed: \(words(cause))",
            metadata: [
                "seals": "\(ring.entries[0].fingerprint)", "inService": "\(ring.installed.count)",
                "retired": "\(ring.entries.count - ring.installed.count)",
            ])
        if telling == nil { telling = Task { await tell() } }
        return true
    }

    private func logRefusal() {
        guard let silent = causes.due(.ringRefused, at: .now) else { return }
        logger.warning(
            """
            a peer's key ring is refused: the keys that it calls removed would leave this node none; \
            find the node that makes such rings, stop it, then `peerbuild keys rotate`\
            \(silent > 0 ? "; \(silent) more since the last such line" : "")
            """)
    }

    private func words(_ cause: Rotation.Cause) -> String {
        switch cause {
        case .graceOver: "a retired key's grace is over"
        case .ordered(let step): "an operator's \(step.rawValue)"
        case .learned(let peer): peer.map { "node \(cluster.name(of: $0)) knew more" } ?? "a peer knew more"
        }
    }

    /// Brings the newest ring to the links, and word of it to the rest of the node; one such task at a time, so that no
    /// ring overtakes a newer one.
    private func tell() async {
        while used != rotation.ring {
            let (fresh, before) = (rotation.ring, used)
            used = fresh
            do {
                try await links.replaceKeys(fresh)
            } catch {
                logger.error("the links do not take the key ring", metadata: ["error": "\(error)"])
            }
            if fresh.mapKey != before.mapKey { await mapKeyChanged(fresh.mapKey) }
            await loadChanged()
        }
        telling = nil
    }

    private func carryOut(_ exchange: Exchange) async {
        let links = links
        do {
            let answer = try await withDeadline(
                Self.exchangeLimit,
                timeout: PeerCallError.timedOut(service: PeerService.keys.rawValue, exchange.peer)
            ) {
                let stream = try await links.open(
                    PeerService.keys.rawValue, to: exchange.address, expecting: exchange.peer)
                return try await withTaskCancellationHandler {
                    defer { stream.reset() }
                    try await stream.send(exchange.message)
                    await stream.finish()
                    guard let answer = try await stream.receive() else { throw PeerCallError.ended }
                    return answer
                } onCancel: {
                    stream.reset()
                }
            }
            handle(.exchangeAnswered(number: exchange.number, try ClusterKeyRing(decoding: answer)))
        } catch {
            logger.debug("key rings were not exchanged", metadata: ["peer": "\(exchange.peer)", "error": "\(error)"])
            let wasReached = if case WireError.handshakeFailed = error { true } else { false }
            handle(.exchangeFailed(number: exchange.number, wasReached: wasReached))
        }
    }

    /// Serves a peer's exchange: takes its ring, answers with what both know together.
    func serve(_ stream: any PeerStream) async throws {
        guard let message = try await stream.receive() else { return }
        let theirs = try ClusterKeyRing(decoding: message)
        tokens += 1
        let token = tokens
        handle(.exchangeRequested(token: token, theirs))
        // The links open what the peer may seal with once it has the answer.
        await telling?.value
        // None when the ring could not be kept: what a restart would forget is not shown.
        if let ring = answers.removeValue(forKey: token) { try await stream.send(ring.encoded()) }
        await stream.finish()
    }

    // MARK: Operator

    /// Carries out an operator's word, here and at all live members.
    func change(_ change: KeyChange) async throws {
        let order: KeyOrder<ClusterKey>
        switch change {
        case .list: return
        case .install(let text): order = .install(try ClusterKey(base64: text, place: "the key to install"))
        case .use(let name): order = .use(try rotation.ring.key(named: name))
        case .remove(let name): order = .remove(try rotation.ring.key(named: name))
        case .rotate: order = .rotate(fresh: try .generate())
        }
        guard !isOver else { throw CancellationError() }
        tokens += 1
        let token = tokens
        try await withCheckedThrowingContinuation { asker in
            waiting[token] = asker
            handle(.ordered(token: token, order))
        }
        // The links seal with it when the operator is told so.
        await telling?.value
    }
}
