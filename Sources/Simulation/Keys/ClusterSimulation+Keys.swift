internal import ClusterKeys
internal import ClusterModel
internal import Gossip

// Keys of simulated nodes: what seals and opens datagrams and links, and the machine that changes it. Only for clusters
// that have key settings; others do nothing here.
extension ClusterSimulation {
    enum KeyHappening: Sendable {
        case event(KeyRotation<SimulatedKey>.Event)
        case wake(number: UInt64)
        case request(asker: Int, number: UInt64, of: PeerID, KeyRing<SimulatedKey>, process: UInt64)
    }

    /// Unix time of a simulation's start.
    private static let unixSecondsAtFirst: Int64 = 1_700_000_000

    /// What a node's wall clock shows, in Unix seconds.
    func unixSeconds(of index: Int) -> UInt64 {
        let passed = Duration.nanoseconds(now.nanoseconds) + nodes[index].wallClockOffset
        return UInt64(max(0, Self.unixSecondsAtFirst + Int64(passed.inSeconds.rounded(.down))))
    }

    // MARK: Life

    /// Gives a node that starts its keys: what its disk has, else the cluster's first.
    mutating func startKeys(of index: Int, kept: KeyRing<SimulatedKey>? = nil) {
        guard let keySettings else { return }
        let first = SimulatedKey(0)
        var ring = kept ?? KeyRing(entries: [.init(key: first, generation: 1)], mapKey: [1])
        ring.expire(at: unixSeconds(of: index))
        let finished = nodes[index].keys?.finished ?? []
        nodes[index].keys = SimulatedKeys(ring: ring, settings: keySettings)
        nodes[index].keys?.finished = finished
        ringChanged(of: index)
        planKeys(.event(.timer([])), of: index, at: now)
    }

    /// Orders a node to rotate; nothing while it stands still.
    package mutating func rotateKeys(of index: Int) {
        guard nodes[index].isRunning, nodes[index].pausedUntil == nil else { return }
        keysMade += 1
        handleKeys(.ordered(token: keysMade, .rotate(fresh: SimulatedKey(keysMade))), by: index)
    }

    mutating func planKeys(_ happening: KeyHappening, of index: Int, at instant: MonotonicInstant) {
        heap.plan(.keys(happening, node: index, process: nodes[index].process), at: instant)
    }

    mutating func stepKeys(_ happening: KeyHappening, of index: Int) {
        if let until = nodes[index].pausedUntil { return planKeys(happening, of: index, at: max(until, now)) }
        switch happening {
        case .event(.timer): handleKeys(.timer(keyPeers(of: index)), by: index)
        case .event(let event): handleKeys(event, by: index)
        case .wake(let number):
            guard nodes[index].keys?.wakes == number else { return }
            handleKeys(.timer(keyPeers(of: index)), by: index)
        case .request(let asker, let number, let expected, let ring, let process):
            serveKeys(asker, number, expected, ring, process, at: index)
        }
    }

    private func keyPeers(of index: Int) -> [KeyRotation<SimulatedKey>.Peer] {
        let own = Self.id(of: nodes[index].identity)
        return nodes[index].membership.members.filter { $0.id != own && $0.state != .left }.map {
            .init(id: $0.id, address: $0.address, name: $0.name, isUp: $0.isUp, keySet: $0.load.keySet)
        }
    }

    private mutating func handleKeys(_ event: KeyRotation<SimulatedKey>.Event, by index: Int) {
        guard nodes[index].isRunning, nodes[index].keys != nil else { return }
        let moment = KeyRotation<SimulatedKey>.Moment(
            now: nodes[index].clock[now], unixSeconds: unixSeconds(of: index))
        let before = nodes[index].keys?.rotation.keySet
        for effect in nodes[index].keys?.rotation.handle(event, at: moment) ?? [] { perform(effect, by: index) }
        // A node opens what its ring opens; the checker looks at the ring apart from how it came to be.
        if nodes[index].keys?.rotation.keySet != before { ringChanged(of: index) }
    }

    private mutating func ringChanged(of index: Int) {
        guard let keys = nodes[index].keys else { return }
        trace.add(UInt64(keys.rotation.ring.setHash) ^ UInt64(index) << 48 ^ 15 << 56)
        keyChecker.ringChanged(keys.rotation.ring, of: index, at: unixSeconds(of: index))
        var load = nodes[index].membership.own.load
        load.keySet = keys.rotation.keySet
        handle(.loadChanged(load), by: index)
    }

    private mutating func perform(_ effect: KeyRotation<SimulatedKey>.Effect, by index: Int) {
        switch effect {
        case .exchange(let number, let peer, let address, let ring):
            trace.add(number ^ UInt64(address.port) << 32 ^ 16 << 56)
            guard let target = node(at: address), nodes[target].isRunning, network.connects(index, to: target),
                network.connects(target, to: index)
            else {
                return planKeys(
                    .event(.exchangeFailed(number: number, wasReached: false)), of: index,
                    at: now + Self.connectTimeout)
            }
            let delay = network.connectDelay()
            heap.plan(
                .keys(
                    .request(asker: index, number: number, of: peer, ring, process: nodes[index].process), node: target,
                    process: nodes[target].process), at: now + delay)
            // An asker whose request meets no process any more does not wait for ever.
            planKeys(
                .event(.exchangeFailed(number: number, wasReached: false)), of: index, at: now + Self.keyExchangeLimit)
        case .answer(let token, let ring): keyAnswers[token] = ring
        case .adopt(let ring, _):
            nodes[index].keys?.kept = ring
            nodes[index].keys?.rotation.wasKept()
        case .agreed(let address): nodes[index].keys?.dial.agreed(at: address)
        case .finish(_, let error): nodes[index].keys?.finished.append(error)
        case .wake(let instant):
            nodes[index].keys?.wakes += 1
            planKeys(
                .wake(number: nodes[index].keys?.wakes ?? 0), of: index,
                at: max(now, nodes[index].clock.instant(showing: instant)))
        }
    }

    private mutating func serveKeys(
        _ asker: Int, _ number: UInt64, _ expected: PeerID, _ ring: KeyRing<SimulatedKey>, _ process: UInt64,
        at index: Int
    ) {
        guard nodes[asker].process == process, nodes[index].isRunning else { return }
        let delay = network.delay()
        var answer = KeyRotation<SimulatedKey>.Event.exchangeFailed(number: number, wasReached: true)
        if shakeHands(asker, index), Self.id(of: nodes[index].identity) == expected {
            tokens += 1
            handleKeys(.exchangeRequested(token: tokens, ring), by: index)
            if let theirs = keyAnswers.removeValue(forKey: tokens), network.connects(index, to: asker) {
                answer = .exchangeAnswered(number: number, theirs)
            }
        }
        planKeys(.event(answer), of: asker, at: now + delay)
    }

    /// A stream that says nothing is given up after this long.
    private static let keyExchangeLimit: Duration = .seconds(5)

    // MARK: Seals

    /// What seals a node's datagrams; nil without keys.
    func sealingKey(of index: Int) -> KeyFingerprint? { nodes[index].keys?.rotation.ring.entries[0].fingerprint }

    /// Whether what was sealed with `key` opens at a node, who hears of it if it would seal with another.
    mutating func opens(_ key: KeyFingerprint, at index: Int, from sender: Int) -> Bool {
        guard let ring = nodes[index].keys?.rotation.ring, nodes[index].isRunning else { return false }
        let seconds = unixSeconds(of: index)
        guard ring.entries.contains(where: { $0.fingerprint == key && $0.opens(at: seconds) }) else { return false }
        if let broken = keyChecker.accepted(key, by: index, at: seconds) { violations.append(broken) }
        hear(key, at: index, of: sender)
        return true
    }

    private mutating func hear(_ key: KeyFingerprint, at index: Int, of other: Int) {
        guard let sealing = sealingKey(of: index), key != sealing else { return }
        nodes[index].keys?.dial.heard(key, at: Self.address(of: other), sealing: sealing)
        planKeys(
            .event(.otherKey(Self.id(of: nodes[other].identity), Self.address(of: other))), of: index, at: now)
    }

    /// A link's handshake, with the key that the dialer takes for this address; both may find that the other one seals
    /// with another key than they.
    mutating func shakeHands(_ dialer: Int, _ listener: Int) -> Bool {
        guard let keys = nodes[dialer].keys else { return true }
        let seconds = unixSeconds(of: dialer)
        let opening = keys.rotation.ring.entries.filter { $0.opens(at: seconds) }.map(\.fingerprint)
        let address = Self.address(of: listener)
        guard let key = keys.dial.key(for: address, of: opening), let sealing = opening.first,
            opens(key, at: listener, from: dialer)
        else {
            nodes[dialer].keys?.dial.failed(at: address)
            return false
        }
        nodes[dialer].keys?.dial.heard(key, at: address, sealing: sealing)
        hear(key, at: dialer, of: listener)
        return true
    }
}
