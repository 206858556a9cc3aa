internal import ClusterModel
internal import Gossip
internal import Logging
internal import Synchronization
internal import Wire

/// Drives the membership protocol: datagrams, timer and streams in, effects out.
///
/// It lives on the peer links' loop thread, so that a datagram goes from the socket to the protocol and back without a hop.
actor ClusterShell: PeerDialer {
    /// What other parts of a node hear of the cluster.
    struct Listener: Sendable {
        var changed: @Sendable (MemberChange) async -> Void
        var delivered: @Sendable ([UInt8], PeerID) async -> Void
        /// A datagram of one member to this one.
        var deliveredDirect: @Sendable ([UInt8], PeerID) async -> Void
        /// This member knows other cache maps.
        var mapRootDiffers: @Sendable (PeerID) async -> Void
        var persist: @Sendable ([MemberSnapshot]) -> Void
        /// What the names of the seeds mean now.
        var lookUpSeeds: @Sendable () async -> [PeerAddress]
    }

    private static let exchangeLimit = Duration.seconds(10)
    /// Changes and records that may wait for the rest of the node: some minutes' worth in a cluster of hundreds.
    private static let newsMax = 65_536

    /// What the rest of the node is told, in the order in which it happened.
    private enum News: Sendable {
        case changed(MemberChange)
        case delivered([UInt8], PeerID)
        case deliveredDirect([UInt8], PeerID)
        case mapRootDiffers(PeerID)
    }

    nonisolated let selfID: PeerID
    private let links: PeerLinks
    private let logger: Logger
    private let jobs: Jobs
    private let clock = ContinuousClock()
    private let origin: ContinuousClock.Instant
    private var membership: Membership
    private var listener: Listener?
    private let (news, newsFeed) = AsyncStream.makeStream(of: News.self, bufferingPolicy: .bufferingOldest(newsMax))
    /// When the protocol wants to be woken, and until when the timer's task sleeps.
    private var wakeAt: MonotonicInstant?
    private var sleepsUntil: MonotonicInstant?
    private var hasLeft = false
    /// What was noticed and is shown until it is over.
    private enum Standing: Int { case identity, address, blocked }
    private var standing: [Standing: String] = [:]
    private var answers: [UInt64: CheckedContinuation<[UInt8]?, Never>] = [:]
    private var answerCount: UInt64 = 0
    private var leaving: [CheckedContinuation<Void, Never>] = []
    private let view = Mutex<[PeerID: Member]>([:])
    private let draining = Mutex(false)

    init(
        selfID: PeerID, membership: Membership, links: PeerLinks, jobs: Jobs, origin: ContinuousClock.Instant,
        logger: Logger
    ) {
        self.selfID = selfID
        self.membership = membership
        self.links = links
        self.jobs = jobs
        self.origin = origin
        self.logger = logger
        let own = membership.own
        view.withLock { $0[selfID] = own }
    }

    nonisolated var unownedExecutor: UnownedSerialExecutor { links.unownedExecutor }

    private var now: MonotonicInstant { MonotonicInstant(nanoseconds: (clock.now - origin).nanoseconds) }

    /// Starts the protocol and goes on until the task is cancelled.
    func run(seeds: [PeerAddress], listener: Listener) async {
        self.listener = listener
        do {
            try attach()
        } catch {
            logger.error("gossip cannot start", metadata: ["error": "\(error)"])
            return
        }
        handle(.join(seeds: seeds))
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [news] in
                // One after the other: a death that overtook the return to life would leave a ghost.
                for await item in news {
                    switch item {
                    case .changed(let change): await listener.changed(change)
                    case .delivered(let bytes, let peer): await listener.delivered(bytes, peer)
                    case .deliveredDirect(let bytes, let peer): await listener.deliveredDirect(bytes, peer)
                    case .mapRootDiffers(let peer): await listener.mapRootDiffers(peer)
                    }
                }
            }
            // Ends with the links or with the task; datagrams come by their handler.
            for await _ in links.datagrams {}
            group.cancelAll()
        }
    }

    /// Takes datagrams and the timer's word from the links, on the thread that both share.
    private func attach() throws {
        try links.assumeIsolated { links in
            try links.setWakeHandler { [weak self] in self?.assumeIsolated { $0.woke() } }
            links.setDatagramHandler { [weak self] datagram in self?.assumeIsolated { $0.received(datagram) } }
        }
    }

    /// Says good-bye and waits until it was told; at once when that was done before.
    func leave() async {
        guard !hasLeft else { return }
        await withCheckedContinuation { continuation in
            leaving.append(continuation)
            handle(.leave)
        }
    }

    func setLoad(_ load: LoadRecord) { handle(.loadChanged(load)) }

    func setHoldings(_ holdings: Holdings) { handle(.holdingsChanged(holdings)) }

    /// What the protocol has done and met so far.
    var counters: GossipCounters { membership.counters }
    /// 0 well … 7: how much this node doubts itself.
    var localHealth: Int { membership.localHealthScore }
    /// What an operator should look at now, in words.
    var warnings: [String] {
        let flags = membership.own.load.flags
        return standing.keys.sorted { $0.rawValue < $1.rawValue }.compactMap { cause in
            switch cause {
            case .address where !flags.contains(.addressDoubtful): nil
            case .blocked where !flags.contains(.udpBlocked): nil
            default: standing[cause]
            }
        }
    }

    func setDraining(_ isDraining: Bool) {
        draining.withLock { $0 = isDraining }
        handle(.draining(isDraining))
    }

    nonisolated var isDraining: Bool { draining.withLock { $0 } }

    func publish(_ record: [UInt8], isUrgent: Bool = true) { handle(.publish(record, isUrgent: isUrgent)) }

    /// One datagram to one member, at best effort.
    func sendDirect(_ record: [UInt8], to peer: PeerID) { handle(.sendDirect(record, to: peer)) }

    /// The root over the cache maps that this node knows.
    func setMapRoot(_ root: UInt32) { handle(.mapRootChanged(root)) }

    /// All members ever heard of, this node included, by name.
    var allMembers: [Member] { membership.members }

    /// The same, with the instant that their load's age is counted to.
    var membersNow: ([Member], MonotonicInstant) { (membership.members, now) }

    private func handle(_ event: Membership.Event) {
        apply(membership.handle(event, at: now))
    }

    private func apply(_ effects: [Membership.Effect]) {
        for effect in effects { apply(effect) }
    }

    private func apply(_ effect: Membership.Effect) {
        switch effect {
        case .send(let bytes, let address): send(bytes, to: address)
        case .wake(let instant): wake(at: instant)
        case .lookUpSeeds: lookUpSeeds()
        case .connect(let token, let address, let peer, let within):
            jobs.start { await self.connect(token, address, peer, within) }
        case .exchange(let id, let address, let peer, let message):
            jobs.start { await self.exchange(id, address, peer, message) }
        case .answerExchange(let token, let answer): answers.removeValue(forKey: token)?.resume(returning: answer)
        case .report(let change): report(change)
        case .notice(let notice): log(notice)
        case .deliver(let bytes, let peer):
            tell(.delivered(bytes, peer))
        case .deliverDirect(let bytes, let peer): tell(.deliveredDirect(bytes, peer))
        case .mapRootDiffers(let peer): tell(.mapRootDiffers(peer))
        case .persist(let members): listener?.persist(members)
        // The seal keeps its boot id for as long as the process runs: the error of the conflict says what to do.
        case .bootWanted: break
        case .leaveFinished:
            hasLeft = true
            for continuation in leaving { continuation.resume() }
            leaving = []
        }
    }

    private func received(_ datagram: ReceivedDatagram) {
        handle(
            .datagram(datagram.bytes, from: datagram.source, sender: datagram.sender, bootID: datagram.senderBootID))
    }

    private func send(_ bytes: [UInt8], to address: PeerAddress) {
        do {
            if try links.assumeIsolated({ try $0.sendDatagram(bytes, to: address) }) { return }
        } catch {
            logger.debug("a datagram was not sent", metadata: ["to": "\(address)", "error": "\(error)"])
        }
        // Not from inside the event whose effects are being carried out.
        jobs.start { await self.sendFailed(to: address) }
    }

    /// A TCP connection as evidence about a member that does not answer datagrams.
    private func connect(_ token: UInt64, _ address: PeerAddress, _ peer: PeerID, _ within: Duration) async {
        let outcome: Membership.ConnectOutcome =
            switch await links.connectEvidence(at: address, within: within) {
            case .refused: .refused
            case .accepted: .accepted
            // Somebody else has its address now: of the member itself there is no sign.
            case .answered(let found, let bootID): found == peer ? .answered(bootID: bootID) : .refused
            case .silent: .silent
            case .unreachable: .unreachable
            }
        handle(.connectFinished(token: token, outcome))
    }

    private func sendFailed(to address: PeerAddress) { handle(.sendFailed(to: address)) }

    private func lookUpSeeds() {
        guard let listener else { return }
        jobs.start { await self.seedsResolved(listener.lookUpSeeds()) }
    }

    private func seedsResolved(_ addresses: [PeerAddress]) { handle(.seedsResolved(addresses)) }

    /// Nearly every event moves the wake, mostly to later: the timer that runs already serves those too.
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

    private func exchange(
        _ id: Membership.ExchangeID, _ address: PeerAddress, _ peer: PeerID?, _ message: [UInt8]
    ) async {
        let links = links
        do {
            let answer = try await withDeadline(
                Self.exchangeLimit, timeout: PeerCallError.ended
            ) {
                let stream = try await links.open(PeerService.gossip.rawValue, to: address, expecting: peer)
                return try await withTaskCancellationHandler {
                    defer { stream.reset() }
                    try await stream.send(message)
                    await stream.finish()
                    guard let answer = try await stream.receive() else { throw PeerCallError.ended }
                    return answer
                } onCancel: {
                    stream.reset()
                }
            }
            handle(.exchangeAnswered(id, answer))
        } catch {
            logger.debug("an exchange with a member failed", metadata: ["address": "\(address)", "error": "\(error)"])
            handle(.exchangeFailed(id))
        }
    }

    /// Serves a member's push/pull.
    func serveExchange(_ stream: any PeerStream) async throws {
        guard let message = try await stream.receive() else { return }
        let answer: [UInt8]? = await withCheckedContinuation { continuation in
            answerCount += 1
            answers[answerCount] = continuation
            handle(.exchangeRequested(token: answerCount, message))
        }
        guard let answer else {
            stream.reset()
            return
        }
        try await stream.send(answer)
        await stream.finish()
    }

    private func report(_ change: MemberChange) {
        let member = change.member
        view.withLock { $0[member.id] = member }
        if member.id != selfID, member.isUp {
            links.assumeIsolated { $0.know(member.id, bootID: member.bootID, at: member.address) }
        }
        if change.kind != .load, change.kind != .holdings {
            logger.info(
                "member \(change.kind.rawValue)",
                metadata: ["member": "\(change.member.name)", "address": "\(change.member.address)"])
        }
        tell(.changed(change))
    }

    private func tell(_ item: News) {
        guard case .dropped = newsFeed.yield(item) else { return }
        logger.error("this node is overloaded: word of the cluster was dropped")
    }

    private func log(_ notice: GossipNotice) {
        switch notice {
        case .seedUnreachable(let address):
            logger.warning("seed \(address) does not answer; it is tried again until it does")
        case .seedReached(let address, let peer): logger.info("seed \(address) answers", metadata: ["id": "\(peer)"])
        case .identityConflict(let address):
            let text =
                "\(address) uses this node's identity: its root directory is a copy; give one of the two a new root"
            standing[.identity] = text
            logger.error("\(text)")
        case .identityGivenUp(let address):
            let text =
                "\(address) keeps this node's identity, as it had it before: this copy takes no part; give it a new root"
            standing[.identity] = text
            logger.error("\(text)")
        case .loopWasLate(let duration):
            logger.warning("this node was stopped or overloaded for \(duration.inSeconds) s")
        case .userRecordsDropped(let count):
            logger.warning("\(count) cache announcements were dropped: too many at once")
        case .advertisedAddressDiffers(let seen):
            let text = "members see this node at \(seen), which it does not advertise; see --advertise"
            standing[.address] = text
            logger.warning("\(text)")
        case .datagramsBlocked:
            let text = "this node's datagrams do not get through; is UDP blocked? streams are used instead"
            standing[.blocked] = text
            logger.warning("\(text)")
        case .malformed(let address, let error):
            logger.debug(
                "malformed gossip", metadata: ["from": "\(address.map(\.description) ?? "-")", "error": "\(error)"])
        }
    }

    // MARK: PeerDialer

    nonisolated var livePeers: [Member] {
        view.withLock { members in members.values.filter { $0.isUp && $0.id != selfID } }.sorted { $0.id < $1.id }
    }

    nonisolated func open(_ service: PeerService, to peer: PeerID) async throws -> any PeerStream {
        guard let member = view.withLock({ $0[peer] }), member.isUp else { throw PeerCallError.unknownPeer(peer) }
        return try await links.open(
            service.rawValue, to: member.address, expecting: peer, priority: service.priority)
    }

    nonisolated func name(of peer: PeerID) -> String {
        view.withLock { $0[peer]?.name } ?? "\(peer)"
    }
}
