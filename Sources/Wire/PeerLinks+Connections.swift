internal import ClusterModel
internal import Logging
internal import UVLoop

/// Links: how they begin and end.
extension PeerLinks {
    func accepted(_ basket: ConnectionBasket) {
        guard let connection = basket.take() else { return }
        guard !stopped, makeRoomForStranger(), links.count < WireLimits.linksMax,
            let remote = try? connection.remoteAddress()
        else {
            counted.handshakesRefused += 1
            return  // The connection closes as its owner goes.
        }
        do {
            let machine = try LinkMachine(
                role: .listener, configuration: handshakeConfiguration(for: PeerAddress(remote)), pool: pool)
            let link = add(connection, machine, address: PeerAddress(remote), isDialer: false)
            startReading(link)
        } catch {
            logger.error("cannot accept peers", metadata: ["error": "\(error)"])
        }
    }

    /// Whether one more connection may try to prove itself: of too many, the oldest goes, once it had its chance.
    ///
    /// So connections that say nothing cannot keep others out.
    private func makeRoomForStranger() -> Bool {
        let pending = links.values.filter { $0.peer == nil && !$0.isDialer }
        guard pending.count >= WireLimits.pendingHandshakesMax else { return true }
        guard let oldest = pending.min(by: { $0.number < $1.number }),
            oldest.started.duration(to: now) >= WireLimits.patienceWithStrangers
        else { return false }
        counted.handshakesTimedOut += 1
        over(oldest, "others wait for their handshake")
        return true
    }

    /// Starts a link to `address`; `dialWaiters` are woken when it is established or over.
    func dial(_ address: PeerAddress) throws -> Link {
        guard links.count < WireLimits.linksMax else {
            throw WireError.unreachable(address: address, reason: "\(WireLimits.linksMax) links are open already")
        }
        var started: Link?
        do {
            let connection = try TCPConnection(loop: loop)
            let machine = try LinkMachine(
                role: .dialer, configuration: handshakeConfiguration(for: address), pool: pool)
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
        link.isConnected = true
        startReading(link)
        pump(link)
    }

    /// Ends a link with the error that fits how far it had come.
    func over(_ link: Link, _ reason: String) {
        if let peer = link.peer {
            fail(link, .linkBroken(peer: peer, reason: reason))
        } else {
            fail(link, .handshakeFailed(address: link.address, reason: reason))
        }
    }

    /// Ends a link over what the peer sent, and counts what it was.
    func over(_ link: Link, fault: any Error) {
        switch fault {
        case let fault as Handshake.Fault:
            if fault == .wrongKey {
                counted.handshakesWithWrongKey += 1
                if !link.isDialer { warnOfWrongKey(link.address.host, "a connection") }
            }
            fail(link, .handshakeFailed(address: link.address, reason: fault.description))
        case let fault as LinkFault:
            if fault == .damaged { counted.linksDamaged += 1 } else { counted.linksViolated += 1 }
            // By kind and not by its words: what a peer writes into frames must not make each line one of its own.
            warn(
                fault == .damaged ? .damagedLinks : .violatedLinks, "peer link closed: \(fault)",
                "\(link.address), peer \(link.peer.map { "\($0)" } ?? "?")")
            over(link, fault.description)
        default: over(link, "\(fault)")
        }
    }

    func handle(_ event: LinkMachine.Event, on link: Link) {
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
        // An earlier boot lives behind a copy of itself: it may ask what has become of it, and gets no work.
        guard bootID >= newestBoots[peer] ?? 0 else { return }
        guard let number = linkOfPeer[peer], let other = links[number], other.failure == nil else {
            linkOfPeer[peer] = link.number
            return
        }
        guard other.bootID <= bootID else { return }
        if other.bootID < bootID {
            // The peer has started anew: the old link is dead, whatever TCP says.
            fail(other, .linkBroken(peer: peer, reason: "the peer was restarted"))
            linkOfPeer[peer] = link.number
        } else if other.isLeaving || link.isPreferred(own: own) {
            // Both dialed at once. The other link serves the streams that it has, and leaves when they are over.
            linkOfPeer[peer] = link.number
        }
    }

    /// The link to a peer's newest boot that has been up for longest.
    func oldestLink(to peer: PeerID) -> UInt64? {
        let newest = newestBoots[peer] ?? 0
        return links.values.filter { $0.peer == peer && $0.isUsable && $0.bootID >= newest }.map(\.number).min()
    }

    private func wakeDialers(of link: Link) {
        for waiter in dialWaiters.removeValue(forKey: link.number) ?? [] { waiter.resume() }
    }

    /// Ends a link: closes the connection, breaks its streams, wakes everybody who waits for it.
    ///
    /// Harmless when over.
    func fail(_ link: Link, _ error: WireError) {
        guard link.failure == nil else { return }
        link.failure = error
        link.connection = nil
        remember(link)
        links[link.number] = nil
        if link.peer == nil {
            counted.handshakesFailed += 1
            linkNotMade(link)
        }
        if let peer = link.peer, linkOfPeer[peer] == link.number {
            linkOfPeer[peer] = oldestLink(to: peer)
        }
        if linkOfAddress[link.address] == link.number { linkOfAddress[link.address] = nil }
        if link.peer != nil, !(link.isLeaving && link.handles.isEmpty) { counted.linksBroken += 1 }
        for event in link.machine.streams.fail() { handle(event, on: link) }
        wakeDialers(of: link)
        logger.debug("peer link over", metadata: ["peer": "\(link.address)", "reason": "\(error)"])
    }
}
