internal import ClusterModel
internal import Gossip

// How events reach the nodes and effects the network.
extension ClusterSimulation {
    mutating func membership(
        of index: Int, as identity: Int, boot: UInt64, remembered: [MemberSnapshot], census: MemberCensus? = nil
    ) throws(GossipConfigurationError) -> Membership {
        var settings = configuration
        // Clocks of a cluster agree to about 100 ms.
        settings.wallClockOffset = .milliseconds(Int64(random.next() % 200))
        return try Membership(
            configuration: settings, id: Self.id(of: identity), bootID: boot,
            metadata: Self.metadata(of: index),
            remembered: remembered, census: census, random: SplitMix64(seed: random.next()),
            now: nodes.indices.contains(index) ? nodes[index].clock[now] : now)
    }

    mutating func step() {
        guard let (at, happening) = heap.next() else { return }
        happenedAtOnce = at == now ? happenedAtOnce + 1 : 0
        now = at
        guard happenedAtOnce < Self.atOnceMax else { return noteLivelock(happening) }
        switch happening {
        case .event(let event, let node, let process):
            guard nodes[node].process == process else { return }
            if case .datagram = event, nodes[node].isFrozen { return }
            handle(event, by: node)
        case .wake(let node, let number, let process):
            guard nodes[node].process == process, nodes[node].wakes == number else { return }
            handle(.timer, by: node)
        case .request(let asker, let id, let target, let bytes, let process):
            request(asker: asker, id: id, target: target, bytes: bytes, process: process)
        case .resume(let node): resume(node)
        case .sealed(let event, let key, let sender, let node, let process):
            guard nodes[node].process == process, !nodes[node].isFrozen, opens(key, at: node, from: sender) else {
                return
            }
            handle(event, by: node)
        case .keys(let happening, let node, let process):
            guard nodes[node].process == process else { return }
            stepKeys(happening, of: node)
        }
    }

    /// Drops what keeps time from going on, so that the run ends and names it.
    private mutating func noteLivelock(_ happening: Happening) {
        happenedAtOnce = 0
        violations.append("livelock: at \(now.nanoseconds) there is no end of \(happening)")
    }

    mutating func resume(_ node: Int) {
        guard let until = nodes[node].pausedUntil, until <= now else { return }
        nodes[node].pausedUntil = nil
        nodes[node].isFrozen = false
        let backlog = nodes[node].backlog
        nodes[node].backlog = []
        // libuv runs timers before it reads sockets.
        if nodes[node].hasDueTimer { handle(.timer, by: node) }
        nodes[node].hasDueTimer = false
        for event in backlog { handle(event, by: node) }
    }

    mutating func handle(_ event: Membership.Event, by index: Int) {
        guard nodes[index].isRunning else { return }
        guard nodes[index].pausedUntil == nil else {
            if case .timer = event {
                nodes[index].hasDueTimer = true
            } else if nodes[index].backlog.count < Self.backlogMax {
                nodes[index].backlog.append(event)
            }
            return
        }
        let local = nodes[index].clock[now]
        for effect in nodes[index].membership.handle(event, at: local) {
            trace.add(effect, of: index, at: now)
            perform(effect, by: index)
        }
        if let broken = replays?.check(event, by: nodes[index], at: local) { violations.append("n\(index) \(broken)") }
    }

    mutating func perform(_ effect: Membership.Effect, by index: Int) {
        switch effect {
        case .send(let bytes, let address): send(bytes, to: address, by: index)
        case .wake(let instant):
            nodes[index].wakes += 1
            heap.plan(
                .wake(node: index, number: nodes[index].wakes, process: nodes[index].process),
                at: max(now, nodes[index].clock.instant(showing: instant)))
        case .exchange(let id, let address, _, let bytes):
            heap.plan(
                .request(asker: index, id, to: node(at: address), bytes, process: nodes[index].process),
                at: now + network.streamDelay())
        case .lookUpSeeds: handle(.seedsResolved(nodes[index].seeds), by: index)
        case .connect(let token, let address, _, let limit):
            connect(token, from: index, to: node(at: address), within: limit)
        case .mapRootDiffers(let peer): callUp(index, .mapRootDiffers(peer))
        case .deliverDirect(let bytes, let peer): callUp(index, .direct(bytes, from: peer))
        case .answerExchange(let token, let bytes): answer(token, bytes, by: index)
        case .report(let change):
            if change.kind != .load, change.kind != .holdings { callUp(index, .changed(change)) }
            observe(change, by: index)
        case .notice(let notice): note(notice, of: index)
        case .bootWanted(let above): renewBoot(of: index, above: above)
        case .deliver(let bytes, let peer):
            if keepsUpcalls {
                callUp(index, .delivered(bytes, from: peer))
            } else {
                deliveries.append(Delivery(at: now, node: index, from: peer, bytes: bytes))
            }
        case .persist(let members): nodes[index].snapshot = members
        case .leaveFinished:
            nodes[index].isRunning = false
            nodes[index].left = true
        }
    }

    private mutating func note(_ notice: GossipNotice, of index: Int) {
        nodes[index].notices.append(notice)
        if case .identityGivenUp = notice {
            nodes[index].isRunning = false
            nodes[index].hasGivenUp = true
        }
    }

    private mutating func renewBoot(of index: Int, above: UInt64) {
        nodes[index].boots = max(takeBoot(of: nodes[index].identity), above + 1)
        nodes[index].renewals += 1
        handle(.bootTaken(nodes[index].boots), by: index)
    }

    mutating func callUp(_ node: Int, _ kind: Upcall.Kind) {
        if keepsUpcalls { upcalls.append(Upcall(node: node, kind: kind)) }
    }

    mutating func send(_ bytes: [UInt8], to address: PeerAddress, by index: Int) {
        let payload = bytes.count + configuration.sealOverheadBytes
        nodes[index].bytesSent += bytes.count
        nodes[index].wireBytes += payload + Self.headerBytes
        nodes[index].datagramsSent += 1
        nodes[index].largestDatagram = max(nodes[index].largestDatagram, bytes.count)
        if let broken = nonces?.sealed(by: nodes[index], at: index) { violations.append(broken) }
        if payload > configuration.packetLimit {
            violations.append("packet limit: n\(index) sent \(payload) bytes at \(now.nanoseconds)")
        }
        guard let target = node(at: address), !nodes[target].isHostDown else { return }
        for delay in network.copies(from: index, to: target, payloadBytes: payload) {
            let event = Membership.Event.datagram(
                bytes, from: Self.address(of: index), sender: Self.id(of: nodes[index].identity),
                bootID: nodes[index].boots)
            let process = nodes[target].process
            let happening: Happening =
                if let key = sealingKey(of: index) {
                    .sealed(event, key: key, from: index, node: target, process: process)
                } else { .event(event, node: target, process: process) }
            heap.plan(happening, at: now + delay)
        }
    }

    mutating func observe(_ change: MemberChange, by index: Int) {
        guard change.kind != .load, change.kind != .holdings, change.kind != .condition else { return }
        changedAt = now
        let observation = Observation(at: now, observer: index, change: change)
        if keepsObservations { observations.append(observation) }
        if let broken = order.check(observation) { violations.append(broken) }
        guard change.kind == .died, let subject = node(at: change.member.address), nodes[subject].isRunning,
            nodes[subject].boots == change.member.bootID, network.connects(index, to: subject),
            network.connects(subject, to: index)
        else { return }
        falseDeathPairs.append(FalseDeath(at: now, observer: index, subject: subject))
        falseDeaths.append("n\(index) declared n\(subject) dead at \(now.nanoseconds)")
    }

    /// A kernel answers for a stopped process; a stopped process says nothing.
    mutating func connect(_ token: UInt64, from asker: Int, to target: Int?, within limit: Duration) {
        let delay = network.connectDelay()
        nodes[asker].wireBytes += Self.connectionBytes / 2
        var outcome = Membership.ConnectOutcome.silent
        if let target, network.connects(asker, to: target), network.connects(target, to: asker), delay <= limit,
            !nodes[target].isHostDown, !nodes[target].isFrozen
        {
            if !nodes[target].isRunning {
                outcome = .refused
            } else if nodes[target].pausedUntil != nil || !shakeHands(asker, target) {
                outcome = .accepted
            } else {
                outcome = .answered(bootID: nodes[target].boots)
            }
        }
        // The shell waits for the process's answer as long as it may.
        let isAtOnce = outcome != .silent && outcome != .accepted
        heap.plan(
            .event(.connectFinished(token: token, outcome), node: asker, process: nodes[asker].process),
            at: now + (isAtOnce ? delay : limit * 0.95))
    }

    func node(at address: PeerAddress) -> Int? {
        let index = Int(address.port) - 1_000
        return nodes.indices.contains(index) ? index : nil
    }

    mutating func request(asker: Int, id: Membership.ExchangeID, target: Int?, bytes: [UInt8], process: UInt64) {
        guard let target, nodes[target].isRunning, network.connects(asker, to: target),
            network.connects(target, to: asker)
        else {
            let isRefused = target.map { network.connects(asker, to: $0) && !nodes[$0].isHostDown } ?? false
            let delay = isRefused ? network.delay() : Self.connectTimeout
            return heap.plan(.event(.exchangeFailed(id), node: asker, process: process), at: now + delay)
        }
        nodes[asker].wireBytes += bytes.count + Self.connectionBytes
        guard shakeHands(asker, target) else {
            return heap.plan(.event(.exchangeFailed(id), node: asker, process: process), at: now + network.delay())
        }
        tokens += 1
        pending[tokens] = (asker, id, process)
        handle(.exchangeRequested(token: tokens, bytes), by: target)
    }

    mutating func answer(_ token: UInt64, _ bytes: [UInt8]?, by index: Int) {
        guard let (asker, id, process) = pending.removeValue(forKey: token) else { return }
        nodes[index].wireBytes += bytes?.count ?? 0
        let event: Membership.Event =
            if let bytes, network.connects(index, to: asker) { .exchangeAnswered(id, bytes) } else {
                .exchangeFailed(id)
            }
        heap.plan(.event(event, node: asker, process: process), at: now + network.streamDelay())
    }
}
