package import ClusterModel
internal import Glibc
internal import Logging
internal import Sodium
internal import UVLoop

extension PeerLinks {
    /// Takes datagrams on the loop's thread, without a queue in between.
    package typealias DatagramHandler = @Sendable (ReceivedDatagram) -> Void

    /// Longest plaintext of a datagram that fits a packet of `packetBytes`.
    package static func datagramBytes(inPacketOf packetBytes: Int) -> Int { packetBytes - DatagramSeal.overhead }

    /// Gives datagrams to `handler` from now on instead of to `datagrams`; what waits there comes first.
    package func setDatagramHandler(_ handler: DatagramHandler?) { datagramHandler = handler }

    /// Sets what `wake(after:)` calls, on the loop's thread.
    package func setWakeHandler(_ handler: @escaping @Sendable () -> Void) throws {
        wakeTimer = try LoopTimer(loop: loop, fire: handler)
    }

    /// Calls the wake handler after `delay`, instead of what was asked for before.
    ///
    /// The loop counts milliseconds: one more is waited, so that it never comes early.
    package func wake(after delay: Duration) {
        do {
            try wakeTimer?.start(after: delay + .milliseconds(1))
        } catch {
            logger.debug("no wake", metadata: ["error": "\(error)"])
        }
    }

    /// The member table says that this node and boot is at `address`: packets there are bound to it.
    ///
    /// Links to an earlier boot of it are ended.
    package func know(_ peer: PeerID, bootID: UInt64, at address: PeerAddress) {
        heard.know(DatagramSeal.Receiver(node: peer.rawValue, bootID: bootID), at: address, now: now)
        endLinks(to: peer, before: bootID)
    }

    /// Seals `bytes` and hands them to the kernel.
    ///
    /// They may get lost, as UDP may. What goes to an address that has not proved itself is bounded by what came from
    /// there, and first words to an address are padded, so that an answer of any size is no amplification.
    ///
    /// - Returns: whether the kernel took them.
    /// - Throws: `WireError.datagramTooLong`, `WireError.stopped`.
    @discardableResult
    package func sendDatagram(_ bytes: [UInt8], to address: PeerAddress) throws -> Bool {
        guard bytes.count <= WireLimits.datagramBytesMax else {
            throw WireError.datagramTooLong(bytes: bytes.count, bytesMax: WireLimits.datagramBytesMax)
        }
        guard !stopped, socket != nil else { throw WireError.stopped }
        let receiver: DatagramSeal.Receiver?
        var padded = 0
        switch heard.permit(bytes.count + DatagramSeal.overhead, to: address, now: now) {
        case .withheld:
            drop(.unvalidated, address.host)
            return true
        case .open(let isKnown):
            receiver = nil
            padded = isKnown ? WireLimits.silentPacketBytes : configuration.packetLimit
        case .bound(let known): receiver = known
        }
        let packet = seal.seal(bytes, for: receiver, paddedTo: padded)
        do {
            try socket?.send(packet, to: addresses.kernelForm(of: address))
            counted.datagramsOut += 1
            counted.datagramBytesOut += UInt64(packet.count)
            return true
        } catch {
            counted.datagramsUnsent += 1
            logger.debug("datagram not sent", metadata: ["peer": "\(address)", "error": "\(error)"])
            return false
        }
    }

    func datagramReceived(_ incoming: IncomingDatagram) {
        let packet = incoming.bytes
        let unixSeconds = Self.unixSeconds
        if let cause = seal.rejects(packet, now: unixSeconds) { return drop(cause, incoming.source?.host) }
        var bytes = [UInt8](packet)
        let opened: DatagramSeal.Opened
        switch seal.open(&bytes, now: unixSeconds) {
        case .dropped(let cause): return drop(cause, incoming.source?.host)
        case .opened(let fields): opened = fields
        }
        guard let kernelSource = incoming.kernelSource, let address = addresses.name(of: kernelSource) else { return }
        guard opened.node != own.rawValue else { return drop(.cloned, address.host) }
        switch replays.admit(node: opened.node, bootID: opened.bootID, counter: opened.counter) {
        case .fresh: break
        case .replayed: return drop(.replayed, address.host)
        case .staleBoot:
            drop(.staleBoot, address.host)
            return heardStale(opened, bytes, packet.count, at: address)
        }
        counted.datagramsIn += 1
        counted.datagramBytesIn += UInt64(packet.count)
        if opened.isRetired { counted.datagramsUnderRetiredKey += 1 }
        heard.heard(
            DatagramSeal.Receiver(node: opened.node, bootID: opened.bootID), at: address, bytes: packet.count,
            isBound: opened.isBound, now: now)
        let peer = PeerID(rawValue: opened.node)
        if !opened.isPrimary { heardOtherKey(opened.key, of: peer, at: address) }
        deliver(ReceivedDatagram(bytes: bytes, source: address, sender: peer, senderBootID: opened.bootID))
    }

    /// Lets the protocol tell a node that a later start of it is known, once a second: who lives behind a copy of itself
    /// hears nothing else.
    private func heardStale(
        _ opened: DatagramSeal.Opened, _ bytes: [UInt8], _ packetBytes: Int, at address: PeerAddress
    ) {
        if let last = staleAnsweredAt, last.duration(to: now) < WireLimits.staleAnswerInterval { return }
        let sender = DatagramSeal.Receiver(node: opened.node, bootID: opened.bootID)
        guard let datagramHandler, heard.heardStale(sender, at: address, bytes: packetBytes, now: now) else { return }
        staleAnsweredAt = now
        datagramHandler(
            ReceivedDatagram(
                bytes: bytes, source: address, sender: PeerID(rawValue: opened.node), senderBootID: opened.bootID))
    }

    private func deliver(_ datagram: ReceivedDatagram) {
        if let datagramHandler { return datagramHandler(datagram) }
        if case .dropped = inbox.yield(datagram) { drop(.overflow, datagram.source.host) }
    }

    private func drop(_ cause: DatagramDrop, _ host: @autoclosure () -> String?) {
        counted.drop(cause)
        warn(.datagrams(cause), "datagrams are dropped: \(cause.explanation)", host() ?? "?")
    }

    /// Warns once a cause and minute, with how many went unsaid.
    func warn(_ cause: Warning, _ text: @autoclosure () -> String, _ source: @autoclosure () -> String) {
        guard let silent = warnings.due(cause, at: now) else { return }
        let more = silent > 0 ? "; \(silent) more since the last such line" : ""
        logger.warning(
            "\(text())\(more)", metadata: ["source": "\(source())", "cluster": "\(configuration.clusterName)"])
    }

    /// Warns about a peer that does not have the cluster's key.
    func warnOfWrongKey(_ source: String, _ channel: String) {
        warn(.connections, "\(channel) is not sealed with this cluster's key; check cluster keys and names", source)
    }

    /// Wall clock, for the grace of retired keys.
    package static var unixSeconds: UInt64 { UInt64(max(0, time(nil))) }
}

/// What is warned of, each once a minute.
enum Warning: Hashable, Sendable {
    case datagrams(DatagramDrop)
    case connections
    case damagedLinks
    case violatedLinks
}
