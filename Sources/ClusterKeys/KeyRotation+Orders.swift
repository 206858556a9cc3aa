internal import ClusterModel

// How an operator's order goes through the cluster, and what is looked at while none does.
extension KeyRotation {
    mutating func timer(_ peers: [Peer], _ moment: Moment) {
        guard ring.isSecret else { return }
        var fresh = ring
        if fresh.expire(at: moment.unixSeconds) { adopt(fresh, .graceOver) }
        proceed(peers, moment)
        guard sweepAt <= moment.now else { return }
        sweepAt = moment.now + settings.sweepInterval
        let own = keySet
        tell(peers.filter { $0.isUp && $0.keySet != own })
        lookForTheAway(peers.filter { !$0.isUp }.sorted { $0.id < $1.id })
    }

    private mutating func tell(_ peers: [Peer]) {
        for peer in peers where exchanges.count < settings.exchangesAtOnce {
            exchange(with: peer.id, at: peer.address, triesLeft: ring.entries.count)
        }
    }

    /// Dials members that are down while there is more than one key: with the one that seals alone they hear this node
    /// anyway, if they live.
    private mutating func lookForTheAway(_ away: [Peer]) {
        guard ring.entries.count > 1, !away.isEmpty else { return }
        let start = awayAsked.flatMap { last in away.firstIndex { $0.id > last } } ?? 0
        for offset in 0..<min(settings.awayAtOnce, away.count) {
            let peer = away[(start + offset) % away.count]
            awayAsked = peer.id
            exchange(with: peer.id, at: peer.address, triesLeft: ring.entries.count)
        }
    }

    // MARK: Orders

    mutating func begin(_ order: KeyOrder<Key>, _ token: UInt64, _ moment: Moment) {
        guard ring.isSecret else { return effects.append(.finish(token: token, .ring(.noKey))) }
        guard command == nil else { return effects.append(.finish(token: token, .busy)) }
        let deadline = moment.now + settings.agreementLimit
        var command = Command(token: token, step: .install, rotation: nil, deadline: deadline)
        switch order {
        case .install(let key): start(command) { ring throws(KeyRingError) in try ring.install(key) }
        case .use(let key):
            command.step = .use
            start(command) { ring throws(KeyRingError) in try ring.use(key) }
        case .remove(let key):
            command.step = .remove
            let grace = settings.graceSeconds
            start(command) { ring throws(KeyRingError) in
                try ring.remove(key, graceSeconds: grace, now: moment.unixSeconds)
            }
        case .rotate(let fresh):
            let key = ring.installed.dropFirst().first { $0.generation == 0 }?.key ?? fresh
            command.rotation = Rotation(key: key)
            start(command) { ring throws(KeyRingError) in try ring.install(key) }
        }
        if self.command != nil { sweepAt = min(sweepAt, moment.now) }
    }

    /// Changes the ring and waits for the members, or says why not.
    private mutating func start(_ command: Command, _ change: (inout KeyRing<Key>) throws(KeyRingError) -> Void) {
        var fresh = ring
        do throws(KeyRingError) {
            try change(&fresh)
        } catch {
            self.command = nil
            return effects.append(.finish(token: command.token, .ring(error)))
        }
        self.command = command
        self.command?.agreed = []
        if fresh != ring { adopt(fresh, .ordered(command.step)) }
    }

    /// Goes to the next step when every member that is up has shown the own key set, in its load record or by its word.
    private mutating func proceed(_ peers: [Peer], _ moment: Moment) {
        guard let command else { return }
        let own = keySet
        let pending = peers.filter { $0.isUp && $0.keySet != own && !command.agreed.contains($0.id) }
        if pending.isEmpty {
            advance(command, moment)
        } else if command.deadline <= moment.now {
            finish(.notEverywhere(command.step, members: pending.map(\.name).sorted()))
        } else {
            tell(pending)
        }
    }

    private mutating func advance(_ done: Command, _ moment: Moment) {
        guard let rotation = done.rotation, done.step != .remove else { return finish(nil) }
        var next = done
        next.deadline = moment.now + settings.agreementLimit
        if done.step == .install {
            next.step = .use
            let fresh = rotation.key.fingerprint
            next.rotation?.replaced = ring.installed.map(\.fingerprint).filter { $0 != fresh }
            return start(next) { ring throws(KeyRingError) in try ring.use(fresh) }
        }
        let sealing = ring.entries[0].fingerprint
        guard !rotation.replaced.contains(sealing) else { return finish(.overruled(by: sealing)) }
        next.step = .remove
        let grace = settings.graceSeconds
        start(next) { ring throws(KeyRingError) in
            for key in rotation.replaced where ring.entries.contains(where: { $0.fingerprint == key && !$0.isRetired })
            {
                try ring.remove(key, graceSeconds: grace, now: moment.unixSeconds)
            }
        }
    }

    private mutating func finish(_ error: KeyOrderError?) {
        guard let command else { return }
        self.command = nil
        effects.append(.finish(token: command.token, error))
    }
}
