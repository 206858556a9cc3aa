package import ClusterModel
internal import Sodium

/// What time does to links, and what is known of them.
extension PeerLinks {
    /// What each link is and has moved, by peer and then by age.
    package func linkReports() -> [LinkReport] {
        links.values.compactMap { report(of: $0) }.sorted { ($0.peer, $1.age) < ($1.peer, $0.age) }
    }

    private func report(of link: Link) -> LinkReport? {
        guard let peer = link.peer, let algorithm = link.machine.algorithm else { return nil }
        return LinkReport(
            peer: peer, address: link.address, isDialer: link.isDialer, cipher: algorithm.description,
            age: link.started.duration(to: now), openStreams: link.handles.count, sent: link.machine.sent,
            received: link.machine.received, sentByPriority: link.machine.streams.sentBytes,
            receivedByPriority: link.machine.streams.receivedBytes)
    }

    /// Keeps what a link that is over has counted.
    func remember(_ link: Link) { count(link, in: &counted) }

    /// Adds what a link has counted to `counters`.
    func count(_ link: Link, in counters: inout LinkCounters) {
        let (sent, received) = (link.machine.sent, link.machine.received)
        counters.recordsOut += sent.records
        counters.recordsIn += received.records
        counters.rekeys += sent.rekeys + received.rekeys
    }

    /// Closes the links whose handshake used a key that is not among these, given by their ids.
    ///
    /// For a key that was taken out of the ring: who has only that one must not stay.
    package func closeLinks(exceptUnder keyIDs: Set<UInt8>) {
        for link in Array(links.values) {
            guard let id = link.machine.clusterKeyID, let peer = link.peer, !keyIDs.contains(id) else { continue }
            fail(link, .linkBroken(peer: peer, reason: "its cluster key was retired"))
        }
    }

    /// Ends the links to a peer that is dead, and the tries to reach it, instead of waiting for their silence to be long
    /// enough: whoever waits for an answer on them can go on.
    package func giveUp(_ peer: PeerID, at address: PeerAddress) {
        for link in Array(links.values) {
            if link.peer == peer {
                fail(link, .linkBroken(peer: peer, reason: "its node is dead"))
            } else if link.peer == nil, link.isDialer, link.address == address {
                fail(link, .unreachable(address: address, reason: "its node is dead"))
            }
        }
    }

    /// Looks at all links: handshakes and silence that last too long, links that nobody uses.
    func tick() {
        let now = now
        let times = configuration.times
        for link in Array(links.values) {
            guard link.peer != nil else {
                if link.started.duration(to: now) >= times.handshake {
                    counted.handshakesTimedOut += 1
                    over(link, "no handshake within \(times.handshake)")
                }
                continue
            }
            let silence = link.lastHeard.duration(to: now)
            if link.isPingPending, silence >= times.silence {
                counted.linksSilent += 1
                over(link, "no answer for \(times.silence)")
            } else if silence >= times.ping, !link.isPingPending {
                link.isPingPending = true
                link.machine.streams.ping(link.number)
                pump(link)
            }
            leaveIfIdle(link, now)
        }
        tickAgain()
    }

    /// Until something may be due at a link: silence is noticed in time, and quiet links wake nobody for nothing.
    var untilNextTick: Duration {
        let now = now
        let times = configuration.times
        // What a link's state can change to in between waits for the next ping's turn at the longest.
        var wait = times.ping
        for link in links.values {
            guard link.peer != nil else {
                wait = min(wait, times.handshake - link.started.duration(to: now))
                continue
            }
            let limit = link.isPingPending ? times.silence : times.ping
            wait = min(wait, limit - link.lastHeard.duration(to: now))
            if let since = link.idleSince { wait = min(wait, times.idle - since.duration(to: now)) }
        }
        return max(wait, times.tick)
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
            linkOfPeer[peer] = oldestLink(to: peer)
        }
        guard link.handles.isEmpty, let peer = link.peer else { return }
        fail(link, .linkBroken(peer: peer, reason: "idle"))
    }
}
