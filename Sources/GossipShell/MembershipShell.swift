package import ClusterModel
internal import Glibc
package import Gossip
package import Logging
package import Wire

/// Drives the membership protocol: datagrams, timer and streams in, effects out.
///
/// It lives on the peer links' loop thread, so that a datagram goes from the socket to the protocol and back without a hop.
/// What a node and what the benchmark run is this type; a node adds what it tells its other parts.
package actor MembershipShell {
    /// What the protocol says to the rest of a node.
    package enum Output: Sendable {
        case changed(MemberChange)
        case notice(GossipNotice)
        /// A record that a member published.
        case delivered([UInt8], from: PeerID)
        /// A datagram of one member to this one.
        case deliveredDirect([UInt8], from: PeerID)
        /// This member knows other cache maps.
        case mapRootDiffers(PeerID)
        case persist([MemberSnapshot])
        /// The wall clock was set; by so much it went forward, or back when negative.
        case clockJumped(Duration)
    }

    /// What the shell needs of its surroundings.
    package struct Surroundings: Sendable {
        /// The service under which members take each other's exchanges.
        package var service: String
        /// The instant that the protocol's times are counted from.
        package var origin: ContinuousClock.Instant
        /// The time since 1970, which may jump.
        package var wallClock: @Sendable () -> Duration
        /// What the names of the seeds mean now.
        package var lookUpSeeds: @Sendable () async -> [PeerAddress]
        /// A boot id of this node that is higher than this one and than all before, written down before it is used.
        package var takeBootID: @Sendable (UInt64) throws -> UInt64
        /// Starts a task of the node.
        package var start: @Sendable (@escaping @Sendable () async -> Void) -> Void

        package init(
            service: String, origin: ContinuousClock.Instant, wallClock: @escaping @Sendable () -> Duration,
            lookUpSeeds: @escaping @Sendable () async -> [PeerAddress],
            takeBootID: @escaping @Sendable (UInt64) throws -> UInt64,
            start: @escaping @Sendable (@escaping @Sendable () async -> Void) -> Void
        ) {
            self.service = service
            self.origin = origin
            self.wallClock = wallClock
            self.lookUpSeeds = lookUpSeeds
            self.takeBootID = takeBootID
            self.start = start
        }
    }

    /// Longest exchange: a stalled member must not hold it open.
    private static let exchangeLimit = Duration.seconds(10)
    /// A boot id that could not be written down is tried again after this long.
    private static let bootPatience = Duration.seconds(10)

    private let links: PeerLinks
    private let logger: Logger
    private let surroundings: Surroundings
    private var membership: Membership
    private var output: (@Sendable (Output) -> Void)?
    /// When the protocol wants to be woken.
    private var wakeAt: MonotonicInstant?
    private var wallClock: WallClockWatch
    private var restore = RestoreWatch()
    /// Counts while the machine runs, unlike `ContinuousClock`.
    private let awakeSince = SuspendingClock.now
    private var hasLeft = false
    private var answers: [UInt64: CheckedContinuation<[UInt8]?, Never>] = [:]
    private var answerCount: UInt64 = 0
    private var leaving: [CheckedContinuation<Void, Never>] = []

    package nonisolated var unownedExecutor: UnownedSerialExecutor { links.unownedExecutor }

    package init(membership: Membership, links: PeerLinks, surroundings: Surroundings, logger: Logger) {
        self.membership = membership
        self.links = links
        self.surroundings = surroundings
        self.logger = logger
        wallClock = WallClockWatch()
    }

    /// What the system's clock says: the time since 1970.
    package static var systemWallClock: Duration {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    /// The time of the protocol.
    package var now: MonotonicInstant {
        MonotonicInstant(nanoseconds: (ContinuousClock.now - surroundings.origin).nanoseconds)
    }

    /// What is known; to be read only.
    package var state: Membership { membership }

    /// Times that the wall clock was set while this node ran.
    package var clockJumps: UInt64 { wallClock.jumps }

    // MARK: Life

    /// Begins the protocol; `output` is called on the loop's thread.
    package func begin(seeds: [PeerAddress], _ output: @escaping @Sendable (Output) -> Void) throws {
        self.output = output
        try links.assumeIsolated { links in
            try links.setWakeHandler { [weak self] in self?.assumeIsolated { $0.woke() } }
            links.setDatagramHandler { [weak self] datagram in self?.assumeIsolated { $0.received(datagram) } }
        }
        readWallClock()
        handle(.join(seeds: seeds))
    }

    /// Says good-bye and waits until it was told; at once when that was done before.
    package func leave() async {
        guard !hasLeft else { return }
        await withCheckedContinuation { continuation in
            leaving.append(continuation)
            handle(.leave)
        }
    }

    // MARK: Events

    package func handle(_ event: Membership.Event) {
        for effect in membership.handle(event, at: now) { apply(effect) }
    }

    private func apply(_ effect: Membership.Effect) {
        switch effect {
        case .send(let bytes, let address): send(bytes, to: address)
        case .wake(let instant): wake(at: instant)
        case .lookUpSeeds: surroundings.start { await self.lookUpSeeds() }
        case .connect(let token, let address, let peer, let within):
            surroundings.start { await self.connect(token, address, peer, within) }
        case .exchange(let id, let address, let peer, let message):
            surroundings.start { await self.exchange(id, address, peer, message) }
        case .answerExchange(let token, let answer): answers.removeValue(forKey: token)?.resume(returning: answer)
        case .report(let change): report(change)
        case .notice(let notice): pass(notice)
        case .deliver(let bytes, let peer): output?(.delivered(bytes, from: peer))
        case .deliverDirect(let bytes, let peer): output?(.deliveredDirect(bytes, from: peer))
        case .mapRootDiffers(let peer): output?(.mapRootDiffers(peer))
        case .persist(let members): output?(.persist(members))
        case .bootWanted(let above):
            surroundings.start {
                await self.takeBootID(
                    above: above, "this node takes its place back from a copy of its root directory")
            }
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
        surroundings.start { await self.handle(.sendFailed(to: address)) }
    }

    private func report(_ change: MemberChange) {
        let member = change.member
        links.assumeIsolated { links in
            guard member.id != links.peerID else { return }
            if member.isUp {
                links.know(member.id, bootID: member.bootID, at: member.address)
            } else if change.kind == .died {
                links.giveUp(member.id, at: member.address)
            }
        }
        output?(.changed(change))
    }

    private func pass(_ notice: GossipNotice) {
        output?(.notice(notice))
        guard case .identityGivenUp = notice else { return }
        // The others hold another process for this node: nothing of theirs is to be used under its name.
        for member in membership.members where member.isUp && member.id != links.peerID {
            links.assumeIsolated { $0.giveUp(member.id, at: member.address) }
            output?(.changed(MemberChange(leaving: member)))
        }
    }

    /// Goes on under a higher boot id, as if this node had been restarted; `reason` is for the log.
    private func takeBootID(above: UInt64, _ reason: String) async {
        while !Task.isCancelled {
            do {
                return goOn(under: try surroundings.takeBootID(above), reason)
            } catch {
                logger.error("no higher boot number can be taken", metadata: ["error": "\(error)"])
            }
            do {
                try await Task.sleep(for: Self.bootPatience)
            } catch {
                return
            }
        }
    }

    private func goOn(under bootID: UInt64, _ reason: String) {
        // Sealed under the new one before the protocol speaks of it.
        links.assumeIsolated { $0.takeBootID(bootID) }
        handle(.bootTaken(bootID))
        logger.notice("\(reason)", metadata: ["boot": "\(bootID)"])
    }

    private func lookUpSeeds() async { handle(.seedsResolved(await surroundings.lookUpSeeds())) }

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

    // MARK: Time

    /// Sets the one timer; the loop's timers cost no system call, and one that fires for nothing wakes a processor.
    private func wake(at instant: MonotonicInstant) {
        wakeAt = instant
        let delay = max(.zero, instant - now)
        links.assumeIsolated { $0.wake(after: delay) }
    }

    private func woke() {
        readWallClock()
        guard let wakeAt else { return }
        // The loop's time stands still while it works: a timer set late in a turn may come early.
        guard wakeAt <= now else { return wake(at: wakeAt) }
        self.wakeAt = nil
        handle(.timer)
    }

    /// Nodes number the periods alike by the wall clock, so that each member is probed once in each.
    private func readWallClock() {
        let awake = awakeSince.duration(to: SuspendingClock.now)
        if let gap = restore.read(surroundings.wallClock(), awake: awake) { leaveBoot(after: gap) }
        guard let change = wallClock.read(surroundings.wallClock(), at: now) else { return }
        handle(.wallClockRead(offset: change.offset))
        if let jump = change.jump { output?(.clockJumped(jump)) }
    }

    /// What this boot has sealed may have been sealed before: no counter of it is used again.
    private func leaveBoot(after gap: Duration) {
        guard !hasLeft, leaving.isEmpty else { return }
        let (bootID, seconds) = (membership.own.bootID, gap.components.seconds)
        surroundings.start {
            await self.takeBootID(
                above: bootID,
                "the wall clock is \(seconds) s ahead of this machine's running time, as after a restored snapshot: "
                    + "this node goes on as if restarted")
        }
    }

    // MARK: Exchanges

    private func exchange(
        _ id: Membership.ExchangeID, _ address: PeerAddress, _ peer: PeerID?, _ message: [UInt8]
    ) async {
        do {
            let stream = try await links.open(surroundings.service, to: address, expecting: peer)
            async let _: Void = Self.reset(stream, after: Self.exchangeLimit)
            let answer = try await withTaskCancellationHandler {
                defer { stream.reset() }
                try await stream.send(message)
                await stream.finish()
                return try await stream.receive()
            } onCancel: {
                stream.reset()
            }
            handle(answer.map { .exchangeAnswered(id, $0) } ?? .exchangeFailed(id))
        } catch {
            logger.debug("an exchange with a member failed", metadata: ["address": "\(address)", "error": "\(error)"])
            handle(.exchangeFailed(id))
        }
    }

    /// Ends a stream that takes too long; ends itself with the scope that it was begun in.
    private static func reset(_ stream: any PeerStream, after limit: Duration) async {
        do {
            try await Task.sleep(for: limit)
            stream.reset()
        } catch {
            // The exchange was in time.
        }
    }

    /// Serves a member's push/pull.
    package func serveExchange(_ stream: any PeerStream) async throws {
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
}
