internal import ClusterModel
internal import Gossip
internal import GossipShell
internal import Logging
internal import Synchronization
internal import Wire

/// A node's place in the cluster: tells the node's other parts what the membership says, and takes their word to it.
///
/// It lives on the peer links' loop thread, as the membership's own shell does.
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
    }

    /// Changes and records that may wait for the rest of the node: some minutes' worth in a cluster of hundreds.
    static let newsMax = 65_536

    /// What the rest of the node is told, in the order in which it happened.
    enum News: Sendable {
        case changed(MemberChange)
        case delivered([UInt8], PeerID)
        case deliveredDirect([UInt8], PeerID)
        case mapRootDiffers(PeerID)
    }

    nonisolated let selfID: PeerID
    private let shell: MembershipShell
    private let links: PeerLinks
    private let logger: Logger
    private var listener: Listener?
    private let (news, newsFeed) = AsyncStream.makeStream(of: News.self, bufferingPolicy: .bufferingOldest(newsMax))
    private var causes = CauseLog<Cause>()
    /// What was noticed and is shown until it is over.
    private enum Standing: Int { case identity, address, blocked }
    private var standing: [Standing: String] = [:]
    private let view = Mutex(KnownMembers())
    private let draining = Mutex(false)
    /// Another process keeps this node's identity: what the membership knew then says nothing of now.
    private var hasGivenUp = false

    init(selfID: PeerID, own: Member, shell: MembershipShell, links: PeerLinks, logger: Logger) {
        self.selfID = selfID
        self.shell = shell
        self.links = links
        self.logger = logger
        view.withLock { $0.update(own) }
    }

    nonisolated var unownedExecutor: UnownedSerialExecutor { links.unownedExecutor }

    /// Starts the protocol and goes on until the task is cancelled.
    func run(seeds: [PeerAddress], listener: Listener) async {
        self.listener = listener
        do {
            try await shell.begin(seeds: seeds) { [weak self] output in self?.assumeIsolated { $0.take(output) } }
        } catch {
            logger.error("gossip cannot start", metadata: ["error": "\(error)"])
            return
        }
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

    /// Says good-bye and waits until it was told; at once when that was done before.
    func leave() async { await shell.leave() }

    func setLoad(_ load: LoadRecord) { handle(.loadChanged(load)) }

    func setHoldings(_ holdings: Holdings) { handle(.holdingsChanged(holdings)) }

    /// What the protocol has done and met so far.
    var counters: GossipCounters { state.report }
    /// 0 well … 7: how much this node doubts itself.
    var localHealth: Int { state.localHealthScore }
    /// Word of the cluster that the rest of the node had no room for.
    private(set) var newsDropped: UInt64 = 0
    /// Times that the wall clock was set while this node ran.
    var clockJumps: UInt64 { shell.assumeIsolated { $0.clockJumps } }
    /// What an operator should look at now, in words.
    var warnings: [String] {
        let flags = state.own.load.flags
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

    /// The addresses of the seeds have changed.
    func seedsResolved(_ addresses: [PeerAddress]) { handle(.seedsResolved(addresses)) }

    /// The root over the cache maps that this node knows.
    func setMapRoot(_ root: UInt32) { handle(.mapRootChanged(root)) }

    /// All members ever heard of, this node included, by name.
    var allMembers: [Member] { hasGivenUp ? [state.own] : state.members }

    /// The same, with the instant that their load's age is counted to.
    var membersNow: ([Member], MonotonicInstant) { (allMembers, shell.assumeIsolated { $0.now }) }

    /// Serves a member's push/pull.
    func serveExchange(_ stream: any PeerStream) async throws { try await shell.serveExchange(stream) }

    private var state: Membership { shell.assumeIsolated { $0.state } }

    private func handle(_ event: Membership.Event) { shell.assumeIsolated { $0.handle(event) } }

    private func take(_ output: MembershipShell.Output) {
        switch output {
        case .changed(let change): report(change)
        case .notice(let notice): log(notice)
        case .delivered(let bytes, let peer): tell(.delivered(bytes, peer))
        case .deliveredDirect(let bytes, let peer): tell(.deliveredDirect(bytes, peer))
        case .mapRootDiffers(let peer): tell(.mapRootDiffers(peer))
        case .persist(let members): listener?.persist(members)
        case .clockJumped(let step): logClockJump(step)
        }
    }

    private func report(_ change: MemberChange) {
        let member = change.member
        view.withLock { $0.update(member) }
        if change.kind != .load, change.kind != .holdings {
            logger.info(
                "member \(change.kind.rawValue)",
                metadata: ["member": "\(change.member.name)", "address": "\(change.member.address)"])
        }
        tell(.changed(change))
    }

    func tell(_ item: News) {
        guard case .dropped = newsFeed.yield(item) else { return }
        newsDropped += 1
        log(.overload, .error, "this node is overloaded: word of the cluster was dropped")
    }

    // MARK: Log

    /// What may happen often and is logged once a minute.
    private enum Cause: Hashable {
        case seed(PeerAddress)
        case stall, clock, records, malformed, identity, givenUp, address, blocked, members, overload
    }

    /// One line per cause and minute, with how many went unsaid.
    private func log(_ cause: Cause, _ level: Logger.Level, _ text: String, _ metadata: Logger.Metadata = [:]) {
        guard let silent = causes.due(cause, at: .now) else { return }
        logger.log(
            level: level, "\(text)\(silent > 0 ? "; \(silent) more since the last such line" : "")",
            metadata: metadata)
    }

    private func logClockJump(_ step: Duration) {
        let seconds = (step.inSeconds * 10).rounded() / 10
        log(.clock, .warning, "the wall clock was set by \(seconds) s; gossip goes by the monotonic clock")
    }

    private func log(_ notice: GossipNotice) {
        switch notice {
        case .seedUnreachable(let address):
            log(.seed(address), .warning, "seed \(address) does not answer; it is tried again until it does")
        case .seedReached(let address, let peer): logger.info("seed \(address) answers", metadata: ["id": "\(peer)"])
        case .identityConflict(let address):
            let text =
                "\(address) uses this node's identity: its root directory is a copy; give one of the two a new root"
            standing[.identity] = text
            log(.identity, .error, text)
        case .identityGivenUp(let address):
            hasGivenUp = true
            let text =
                "\(address) keeps this node's identity, as it had it before: this copy takes no part; give it a new root"
            standing[.identity] = text
            log(.givenUp, .error, text)
        case .loopWasLate(let duration):
            log(.stall, .warning, "this node was stopped or overloaded for \(duration.inSeconds) s")
        case .userRecordsDropped(let count):
            log(.records, .warning, "\(count) cache announcements were dropped: too many at once")
        case .advertisedAddressDiffers(let seen):
            let text = "members see this node at \(seen), which it does not advertise; see --advertise"
            standing[.address] = text
            log(.address, .warning, text)
        case .datagramsBlocked:
            let text = "this node's datagrams do not get through; is UDP blocked? streams are used instead"
            standing[.blocked] = text
            log(.blocked, .warning, text)
        case .tableFull(let members):
            log(
                .members, .warning,
                "a newcomer is not seen: \(members) members are up, which is the most; divide the cluster")
        case .malformed(let address, let error):
            log(
                .malformed, .warning, "gossip that no member writes is dropped",
                ["from": "\(address.map(\.description) ?? "-")", "error": "\(error)"])
        }
    }

    // MARK: PeerDialer

    nonisolated var livePeers: [Member] {
        view.withLock { known in known.members.values.filter { $0.isUp && $0.id != selfID } }.sorted { $0.id < $1.id }
    }

    nonisolated func open(
        _ service: PeerService, to peer: PeerID, priority: StreamPriority
    ) async throws -> any PeerStream {
        guard let member = view.withLock({ $0.members[peer] }), member.isUp else {
            throw PeerCallError.unknownPeer(peer)
        }
        return try await links.open(
            service.rawValue, to: member.address, expecting: peer, priority: priority)
    }

    nonisolated func name(of peer: PeerID) -> String {
        view.withLock { $0.members[peer]?.name } ?? "\(peer)"
    }
}
