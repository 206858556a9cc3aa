internal import ClusterKeys
package import ClusterModel
package import Logging
internal import Sodium
package import UVLoop

/// A node's peer plane: one UDP socket and one TCP listener on one address, everything sealed with the cluster key.
///
/// The actor lives on a libuv thread of its own. What a link does is decided by `LinkMachine`; this type moves bytes,
/// looks at the clock and wakes tasks.
package actor PeerLinks {
    /// Serves one stream that a peer opened.
    ///
    /// The stream ends when the handler lets go of it.
    package typealias Handler =
        @Sendable (_ service: String, _ peer: PeerID, _ stream: any PeerStream) async -> Void

    let loop: LoopThread
    /// Whether the loop was made here; one that was lent is not ended.
    private let ownsLoop: Bool
    var configuration: PeerLinkConfiguration
    let logger: Logger
    let own: PeerID
    /// Datagrams of peers, oldest first; bounded, the oldest are dropped when nobody reads.
    package nonisolated let datagrams: AsyncStream<ReceivedDatagram>
    let inbox: AsyncStream<ReceivedDatagram>.Continuation
    var datagramHandler: DatagramHandler?
    /// Peers that seal with another key than this node, seldom enough to act on each.
    package nonisolated let otherKeys: AsyncStream<OtherKey>
    let otherKeyFeed: AsyncStream<OtherKey>.Continuation

    var socket: UDPSocket?
    var listener: TCPListener?
    var ticker: LoopTimer?
    /// Of whoever drives a protocol on this thread.
    var wakeTimer: LoopTimer?
    /// Memory that bytes of links pass through.
    let pool = BlockPool()
    /// What bulk of all links may pass; nil is no limit.
    var limiter: TokenBucket?
    var limitTimer: LoopTimer?
    var isWaitingForAllowance = false
    /// The link that was the last to send before the limit was reached.
    var lastLimited: UInt64 = 0
    /// Which streams of peers are served now.
    var slots: ServingSlots
    /// Streams of peers that wait to be served.
    var unserved: [UInt64: UnservedStream] = [:]
    var waitingMessage: WaitingMessage?
    var pulseTimer: LoopTimer?
    var isPulsing = false
    var seal: DatagramSeal
    var replays = ReplayGuard()
    var warnings = CauseLog<Warning>()
    /// Who was heard at an address, so that datagrams can be bound to them, and what may be sent there.
    var heard = HeardPeers()
    var addresses = AddressBook()
    /// With which keys addresses are dialed.
    var dialKeys = DialKeys(addressesMax: WireLimits.replaySendersMax)
    var otherKeyNotices: [PeerID: ContinuousClock.Instant] = [:]
    var evidences: [UInt64: EvidenceProbe] = [:]
    var counted = LinkCounters()
    var handler: Handler?

    var links: [UInt64: Link] = [:]
    /// The link that new streams to a peer use.
    var linkOfPeer: [PeerID: UInt64] = [:]
    /// The newest starts of peers that the member table knows.
    var newestBoots: [PeerID: UInt64] = [:]
    var staleAnsweredAt: ContinuousClock.Instant?
    /// Links by the address that was dialed.
    var linkOfAddress: [PeerAddress: UInt64] = [:]
    /// Tasks that wait for a link to be established or to fail.
    var dialWaiters: [UInt64: [CheckedContinuation<Void, Never>]] = [:]
    var streams: [UInt64: StreamEntry] = [:]
    /// Handlers at work, so that `stop` can wait for them.
    var serving: [UInt64: Task<Void, Never>] = [:]
    private var lastNumber: UInt64 = 0
    private var isStopped = false
    private var isTicking = false

    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// Makes the keys and the loop's thread; nothing is bound yet.
    ///
    /// Whoever makes one must `stop()` it. `loop` lets several nodes of one process share a thread.
    package init(configuration: PeerLinkConfiguration, logger: Logger, loop lent: LoopThread? = nil) throws {
        self.configuration = configuration
        self.logger = logger
        own = PeerID(rawValue: configuration.identity.id)
        limiter = configuration.bulkRateMax.map { TokenBucket(rate: $0, now: .now) }
        slots = ServingSlots(bulkMax: configuration.servedBulkMax)
        seal = try DatagramSeal(
            keys: configuration.keys, clusterName: configuration.clusterName, node: configuration.identity.id,
            bootID: configuration.bootID)
        (datagrams, inbox) = AsyncStream.makeStream(
            of: ReceivedDatagram.self, bufferingPolicy: .bufferingNewest(WireLimits.inboxDatagramsMax))
        (otherKeys, otherKeyFeed) = AsyncStream.makeStream(
            of: OtherKey.self, bufferingPolicy: .bufferingNewest(WireLimits.loggedSourcesMax))
        ownsLoop = lent == nil
        loop = try lent ?? LoopThread()
    }

    /// This node's id.
    package nonisolated var peerID: PeerID { own }

    /// Binds both sockets.
    ///
    /// - Returns: the bound address with the actual port.
    /// - Throws: `WireError.bind`.
    package func start() async throws -> PeerAddress {
        guard !isStopped else { throw WireError.stopped }
        do {
            let bound = try bindBoth()
            ticker = try LoopTimer(loop: loop) { [weak self] in self?.assumeIsolated { $0.tick() } }
            limitTimer = try LoopTimer(loop: loop) { [weak self] in self?.assumeIsolated { $0.allowanceIsBack() } }
            pulseTimer = try LoopTimer(loop: loop) { [weak self] in self?.assumeIsolated { $0.pulse() } }
            return bound
        } catch {
            throw WireError.bind(address: configuration.bind, reason: error.description)
        }
    }

    /// Port 0 takes the port that TCP got; it is tried again when UDP has that one in use.
    private func bindBoth() throws(UVError) -> PeerAddress {
        let attempts = configuration.bind.port == 0 ? 16 : 1
        var remaining = attempts
        while true {
            remaining -= 1
            do {
                return try bindOnce()
            } catch {
                listener = nil
                socket = nil
                guard error.isAddressInUse, remaining > 0 else { throw error }
            }
        }
    }

    private func bindOnce() throws(UVError) -> PeerAddress {
        let wanted = SocketAddress(configuration.bind)
        let freshListener = try TCPListener(loop: loop, address: wanted) { [weak self] connection in
            // The connection travels in a box: a closure cannot hand on what it may not copy.
            let box = ConnectionBasket(connection)
            self?.assumeIsolated { $0.accepted(box) }
        }
        let bound = try freshListener.localAddress()
        let freshSocket = try UDPSocket(loop: loop, address: bound) { [weak self] datagram in
            self?.assumeIsolated { $0.datagramReceived(datagram) }
        }
        listener = consume freshListener
        socket = consume freshSocket
        return PeerAddress(bound)
    }

    /// Sets what serves the streams that peers open; without one they are reset.
    package func setHandler(_ handler: @escaping Handler) { self.handler = handler }

    /// Breaks all links, ends all handlers and closes the sockets and the thread.
    ///
    /// Waits until all of that is done.
    package func stop() async {
        guard !isStopped else { return }
        isStopped = true
        for link in Array(links.values) { fail(link, .stopped) }
        for number in Array(evidences.keys) { endEvidence(number, nil) }
        listener = nil
        socket = nil
        ticker = nil
        wakeTimer = nil
        datagramHandler = nil
        limitTimer = nil
        pulseTimer = nil
        unserved = [:]
        inbox.finish()
        otherKeyFeed.finish()
        let tasks = Array(serving.values)
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
        handler = nil
        if ownsLoop { await loop.shutDown() }
    }

    /// What was sent and received so far.
    package func counters() -> LinkCounters {
        var counters = counted
        for link in links.values { count(link, in: &counters) }
        counters.links = linkOfPeer.count
        counters.openStreams = streams.count
        return counters
    }

    /// Open libuv handles: what a leak test counts.
    package nonisolated var handleCount: Int { loop.handleCount }

    // MARK: For the parts of this type

    /// Runs `body` inside the actor, in order with the loop's other work; from any thread.
    nonisolated func onLoop(_ body: @escaping @Sendable (isolated PeerLinks) -> Void) {
        if loop.isCurrent {
            assumeIsolated { body($0) }
        } else {
            loop.perform { self.assumeIsolated { body($0) } }
        }
    }

    var stopped: Bool { isStopped }
    var now: ContinuousClock.Instant { ContinuousClock.now }

    func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    /// Looks at links only while there are any, so that an idle node does not wake up for nothing.
    func startTicking() {
        guard !isTicking, !isStopped else { return }
        do {
            try ticker?.start(after: configuration.times.tick)
            isTicking = true
        } catch {
            logger.error("cannot watch peer links", metadata: ["error": "\(error)"])
        }
    }

    /// Looks at links again when the first of them may have something due.
    func tickAgain() {
        isTicking = false
        guard !links.isEmpty, !isStopped else { return }
        do {
            try ticker?.start(after: untilNextTick)
            isTicking = true
        } catch {
            logger.error("cannot watch peer links", metadata: ["error": "\(error)"])
        }
    }
}

extension SocketAddress {
    init(_ address: PeerAddress) { self.init(host: address.host, port: address.port) }
}

extension PeerAddress {
    init(_ address: SocketAddress) { self.init(host: address.host, port: address.port) }
}
