internal import ClusterModel
internal import Gossip
internal import Logging
internal import Sodium
internal import UVLoop
internal import Wire

/// One member on a real socket: what a node's shell does for gossip, and nothing of the rest of a node.
actor BenchNode {
    private let links: PeerLinks
    private var membership: Membership
    private let origin: ContinuousClock.Instant
    private let seeds: [PeerAddress]
    private var isWaking = false
    private var wakeAt: MonotonicInstant?
    private var sleepsUntil: MonotonicInstant?

    nonisolated var unownedExecutor: UnownedSerialExecutor { links.unownedExecutor }

    /// What one member needs to know to join the others.
    struct Setup {
        var keys: ClusterKeyRing
        var loop: LoopThread
        var origin: ContinuousClock.Instant
        var period: Duration
        var packetLimit: Int
    }

    /// The address and the node.
    static func start(_ number: Int, seeds: [PeerAddress], _ setup: Setup) async throws -> (PeerAddress, BenchNode) {
        var configuration = PeerLinkConfiguration(
            bind: PeerAddress(host: "127.0.0.1", port: 0), identity: try .generate(),
            bootID: BootID.make(unixSeconds: 1_000), keys: setup.keys)
        configuration.packetLimit = setup.packetLimit
        var logger = Logger(label: "bench")
        logger.logLevel = .critical
        let links = try PeerLinks(configuration: configuration, logger: logger, loop: setup.loop)
        let address = try await links.start()
        var gossip = GossipConfiguration()
        gossip.period = setup.period
        gossip.packetLimit = setup.packetLimit
        let membership = try Membership(
            configuration: gossip, id: links.peerID, bootID: configuration.bootID,
            metadata: MemberMetadata(
                name: "bench-\(number)", address: address, platforms: ["linux/amd64"], version: "bench", slots: 2),
            random: SplitMix64(seed: UInt64(number)), now: .zero)
        let node = BenchNode(links: links, membership: membership, origin: setup.origin, seeds: seeds)
        await links.setHandler { _, _, stream in await node.serve(stream) }
        try await node.begin()
        return (address, node)
    }

    private init(
        links: PeerLinks, membership: Membership, origin: ContinuousClock.Instant, seeds: [PeerAddress]
    ) {
        self.links = links
        self.membership = membership
        self.origin = origin
        self.seeds = seeds
    }

    var upCount: Int { membership.upCount }
    var counters: GossipCounters { membership.counters }
    var datagrams: LinkCounters { get async { await links.counters() } }

    func stop() async { await links.stop() }

    private var now: MonotonicInstant { MonotonicInstant(nanoseconds: (ContinuousClock.now - origin).nanoseconds) }

    private func begin() throws {
        try links.assumeIsolated { links in
            try links.setWakeHandler { [weak self] in self?.assumeIsolated { $0.woke() } }
            links.setDatagramHandler { [weak self] datagram in self?.assumeIsolated { $0.received(datagram) } }
        }
        handle(.join(seeds: seeds))
    }

    private func received(_ datagram: ReceivedDatagram) {
        handle(
            .datagram(datagram.bytes, from: datagram.source, sender: datagram.sender, bootID: datagram.senderBootID))
    }

    private func handle(_ event: Membership.Event) {
        for effect in membership.handle(event, at: now) { apply(effect) }
    }

    private func apply(_ effect: Membership.Effect) {
        switch effect {
        case .send(let bytes, let address): links.assumeIsolated { _ = try? $0.sendDatagram(bytes, to: address) }
        case .wake(let instant): wake(at: instant)
        case .lookUpSeeds: Task { self.handle(.seedsResolved(self.seeds)) }
        case .connect(let token, let address, _, let within): connect(token, address, within)
        case .exchange(let id, let address, let peer, let message): exchange(id, address, peer, message)
        case .answerExchange(let token, let answer): answers.removeValue(forKey: token)?.resume(returning: answer)
        case .report(let change):
            let member = change.member
            guard member.id != links.peerID, member.isUp else { return }
            links.assumeIsolated { $0.know(member.id, bootID: member.bootID, at: member.address) }
        default: break
        }
    }

    private func wake(at instant: MonotonicInstant) {
        wakeAt = instant
        if let sleepsUntil, sleepsUntil <= instant { return }
        sleep(until: instant)
    }

    private func sleep(until instant: MonotonicInstant) {
        sleepsUntil = instant
        let delay = max(.zero, instant - now)
        links.assumeIsolated { $0.wake(after: delay) }
    }

    private func woke() {
        sleepsUntil = nil
        guard let wakeAt else { return }
        guard wakeAt <= now else { return sleep(until: wakeAt) }
        self.wakeAt = nil
        handle(.timer)
    }

    private func connect(_ token: UInt64, _ address: PeerAddress, _ within: Duration) {
        let links = links
        Task {
            let outcome: Membership.ConnectOutcome =
                switch await links.connectEvidence(at: address, within: within) {
                case .refused: .refused
                case .accepted: .accepted
                case .answered(_, let bootID): .answered(bootID: bootID)
                case .silent: .silent
                case .unreachable: .unreachable
                }
            self.handle(.connectFinished(token: token, outcome))
        }
    }

    // MARK: Exchanges

    private var answers: [UInt64: CheckedContinuation<[UInt8]?, Never>] = [:]
    private var answerCount: UInt64 = 0

    private func exchange(_ id: Membership.ExchangeID, _ address: PeerAddress, _ peer: PeerID?, _ message: [UInt8]) {
        let links = links
        Task {
            do {
                let stream = try await links.open("gossip", to: address, expecting: peer)
                defer { stream.reset() }
                try await stream.send(message)
                await stream.finish()
                if let answer = try await stream.receive() {
                    self.handle(.exchangeAnswered(id, answer))
                } else {
                    self.handle(.exchangeFailed(id))
                }
            } catch {
                self.handle(.exchangeFailed(id))
            }
        }
    }

    private func serve(_ stream: any PeerStream) async {
        do {
            guard let message = try await stream.receive() else { return }
            let answer: [UInt8]? = await withCheckedContinuation { continuation in
                answerCount += 1
                answers[answerCount] = continuation
                handle(.exchangeRequested(token: answerCount, message))
            }
            guard let answer else { return stream.reset() }
            try await stream.send(answer)
            await stream.finish()
        } catch {
            stream.reset()
        }
    }
}
