internal import ClusterModel
internal import Logging
internal import UVLoop

/// Links: how they begin, move bytes and end.
extension PeerLinks {
    func accepted(_ basket: ConnectionBasket) {
        guard let connection = basket.take() else { return }
        let pending = links.values.count { $0.peer == nil && !$0.isDialer }
        guard !stopped, pending < WireLimits.pendingHandshakesMax, links.count < WireLimits.linksMax,
            let remote = try? connection.remoteAddress()
        else {
            counted.handshakesRefused += 1
            return  // The connection closes as its owner goes.
        }
        do {
            let machine = try LinkMachine(
                role: .listener, configuration: handshakeConfiguration(for: PeerAddress(remote)))
            let link = add(connection, machine, address: PeerAddress(remote), isDialer: false)
            startReading(link)
        } catch {
            logger.error("cannot accept peers", metadata: ["error": "\(error)"])
        }
    }

    /// Starts a link to `address`; `dialWaiters` are woken when it is established or over.
    func dial(_ address: PeerAddress) throws -> Link {
        guard links.count < WireLimits.linksMax else {
            throw WireError.unreachable(address: address, reason: "\(WireLimits.linksMax) links are open already")
        }
        var started: Link?
        do {
            let connection = try TCPConnection(loop: loop)
            let machine = try LinkMachine(role: .dialer, configuration: handshakeConfiguration(for: address))
            let link = add(connection, machine, address: address, isDialer: true)
            started = link
            linkOfAddress[address] = link.number
            let number = link.number
            try link.connection?.connect(to: SocketAddress(address)) { [weak self] error in
                self?.assumeIsolated { $0.connected(number, error) }
            }
            return link
        } catch {
            let failure = WireError.unreachable(address: address, reason: "\(error)")
            if let started { fail(started, failure) }
            throw failure
        }
    }

    private func add(
        _ connection: consuming TCPConnection, _ machine: LinkMachine, address: PeerAddress, isDialer: Bool
    ) -> Link {
        let link = Link(
            number: nextNumber(), isDialer: isDialer, address: address, connection: connection, machine: machine,
            now: now)
        links[link.number] = link
        startTicking()
        return link
    }

    private func connected(_ number: UInt64, _ error: UVError?) {
        guard let link = links[number] else { return }
        if let error { return fail(link, .unreachable(address: link.address, reason: error.description)) }
        startReading(link)
        pump(link)
    }

    private func startReading(_ link: Link) {
        link.connection?.preferLatency(unsentBytesMax: Int32(WireLimits.unsentBytesMax))
        let number = link.number
        do {
            try link.connection?.startReading { [weak self] event in
                self?.assumeIsolated { $0.read(number, event) }
            }
        } catch {
            over(link, error.description)
        }
    }

    private func read(_ number: UInt64, _ event: TCPConnection.ReadEvent) {
        guard let link = links[number] else { return }
        switch event {
        case .bytes(let bytes): received(bytes, on: link)
        case .end: over(link, "the peer closed the connection")
        case .failed(let error): over(link, error.description)
        }
    }

    private func received(_ bytes: [UInt8], on link: Link) {
        link.lastHeard = now
        link.isPingPending = false
        do {
            for event in try link.machine.receive(bytes) {
                guard link.failure == nil else { return }
                handle(event, on: link)
            }
            pump(link)
        } catch let fault as Handshake.Fault {
            if !link.isDialer { warnOfWrongKey(link.address.host, "a connection") }
            let reason = fault == .wrongKey ? "it does not have this cluster's key" : "it did not prove its identity"
            fail(link, .handshakeFailed(address: link.address, reason: reason))
        } catch {
            over(link, "\(error)")
        }
    }

    /// Ends a link with the error that fits how far it had come.
    private func over(_ link: Link, _ reason: String) {
        if let peer = link.peer {
            fail(link, .linkBroken(peer: peer, reason: reason))
        } else {
            fail(link, .handshakeFailed(address: link.address, reason: reason))
        }
    }

    private func handle(_ event: LinkMachine.Event, on link: Link) {
        switch event {
        case .established(let peer, let bootID): established(link, peer, bootID)
        case .stream(let event): handle(event, on: link)
        }
    }

    private func established(_ link: Link, _ peer: PeerID, _ bootID: UInt64) {
        guard peer != own else {
            return fail(link, .handshakeFailed(address: link.address, reason: "it is this node itself"))
        }
        link.establish(peer: peer, bootID: bootID, at: now)
        linkMade(with: link.machine.key, to: peer, at: link.address)
        counted.handshakesCompleted += 1
        defer { wakeDialers(of: link) }
        guard let number = linkOfPeer[peer], let other = links[number], other.failure == nil else {
            linkOfPeer[peer] = link.number
            return
        }
        if other.bootID < bootID {
            // The peer has started anew: the old link is dead, whatever TCP says.
            fail(other, .linkBroken(peer: peer, reason: "the peer was restarted"))
            linkOfPeer[peer] = link.number
        } else if other.isLeaving || link.isPreferred(own: own) {
            // Both dialed at once. The other link serves the streams that it has, and leaves when they are over.
            linkOfPeer[peer] = link.number
        }
    }

    private func wakeDialers(of link: Link) {
        for waiter in dialWaiters.removeValue(forKey: link.number) ?? [] { waiter.resume() }
    }

    /// Seals and writes what is due, as long as the kernel takes it.
    func pump(_ link: Link) {
        guard link.failure == nil else { return }
        let number = link.number
        do {
            while let pending = link.connection?.pendingWriteBytes, pending < WireLimits.unsentBytesMax {
                let (bytes, events) = try link.machine.takeOutput()
                for event in events { handle(event, on: link) }
                guard !bytes.isEmpty else { return }
                try link.connection?.write(bytes) { [weak self] error in
                    self?.assumeIsolated { $0.written(number, error) }
                }
            }
        } catch {
            over(link, "\(error)")
        }
    }

    private func written(_ number: UInt64, _ error: UVError?) {
        guard let link = links[number] else { return }
        if let error { return over(link, error.description) }
        pump(link)
    }

    /// Ends a link: closes the connection, breaks its streams, wakes everybody who waits for it.
    ///
    /// Harmless when over.
    func fail(_ link: Link, _ error: WireError) {
        guard link.failure == nil else { return }
        link.failure = error
        link.connection = nil
        links[link.number] = nil
        if link.peer == nil { counted.handshakesFailed += 1 }
        if let peer = link.peer, linkOfPeer[peer] == link.number {
            linkOfPeer[peer] = links.values.filter { $0.peer == peer && $0.isUsable }.map(\.number).min()
        }
        if linkOfAddress[link.address] == link.number { linkOfAddress[link.address] = nil }
        if link.peer != nil, !(link.isLeaving && link.handles.isEmpty) { counted.linksBroken += 1 }
        for event in link.machine.streams.fail() { handle(event, on: link) }
        wakeDialers(of: link)
        if links.isEmpty { stopTicking() }
        logger.debug("peer link over", metadata: ["peer": "\(link.address)", "reason": "\(error)"])
    }

    /// Looks at all links: handshakes and silence that last too long, links that nobody uses.
    func tick() {
        let now = now
        let times = configuration.times
        for link in Array(links.values) {
            guard link.peer != nil else {
                if link.started.duration(to: now) >= times.handshake {
                    over(link, "no handshake within \(times.handshake)")
                }
                continue
            }
            let silence = link.lastHeard.duration(to: now)
            if link.isPingPending, silence >= times.silence {
                over(link, "no answer for \(times.silence)")
            } else if silence >= times.ping, !link.isPingPending {
                link.isPingPending = true
                link.machine.streams.ping(link.number)
                pump(link)
            }
            leaveIfIdle(link, now)
        }
    }

    private func leaveIfIdle(_ link: Link, _ now: ContinuousClock.Instant) {
        guard link.failure == nil, let peer = link.peer, let since = link.idleSince else { return }
        let isSuperseded = linkOfPeer[peer] != link.number
        let limit = isSuperseded ? configuration.times.silence : configuration.times.idle
        guard since.duration(to: now) >= limit else { return }
        if !link.isLeaving {
            link.isLeaving = true
            link.idleSince = now
            link.machine.streams.goAway()
            pump(link)
        } else {
            // Asked already; the peer has no streams to keep it for.
            fail(link, .linkBroken(peer: peer, reason: "idle"))
        }
    }

    /// The peer opens no more streams here: without streams there is nothing to keep the link for.
    func peerLeaves(_ link: Link) {
        link.isLeaving = true
        if let peer = link.peer, linkOfPeer[peer] == link.number {
            linkOfPeer[peer] = links.values.filter { $0.peer == peer && $0.isUsable }.map(\.number).min()
        }
        guard link.handles.isEmpty, let peer = link.peer else { return }
        fail(link, .linkBroken(peer: peer, reason: "idle"))
    }
}
