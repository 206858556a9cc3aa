package import ClusterModel
internal import Logging
internal import UVLoop

extension PeerLinks {
    /// Longest plaintext of a datagram that fits a packet of `packetBytes`.
    package static func datagramBytes(inPacketOf packetBytes: Int) -> Int { packetBytes - DatagramSeal.overhead }

    /// Seals `bytes` and hands them to the kernel.
    ///
    /// They may get lost, as UDP may; what the kernel refuses is counted.
    ///
    /// - Throws: `WireError.datagramTooLong`, `WireError.stopped`.
    package func sendDatagram(_ bytes: [UInt8], to address: PeerAddress) throws {
        guard bytes.count <= WireLimits.datagramBytesMax else {
            throw WireError.datagramTooLong(bytes: bytes.count, bytesMax: WireLimits.datagramBytesMax)
        }
        guard !stopped, socket != nil else { throw WireError.stopped }
        let packet = seal.seal(bytes, for: heard.peer(at: address, now: now))
        do {
            try socket?.send(packet, to: SocketAddress(address))
            counted.datagramsOut += 1
            counted.datagramBytesOut += UInt64(packet.count)
        } catch {
            counted.datagramsUnsent += 1
            logger.debug("datagram not sent", metadata: ["peer": "\(address)", "error": "\(error)"])
        }
    }

    func datagramReceived(_ bytes: [UInt8], from source: SocketAddress) {
        let address = PeerAddress(source)
        guard bytes.count <= WireLimits.datagramBytesMax + DatagramSeal.overhead, let opened = seal.open(bytes)
        else {
            counted.datagramsRejected += 1
            return warnOfWrongKey(source.host, "a datagram")
        }
        guard replays.admit(node: opened.node, bootID: opened.bootID, counter: opened.counter) else {
            counted.datagramsReplayed += 1
            return
        }
        counted.datagramsIn += 1
        counted.datagramBytesIn += UInt64(bytes.count)
        heard.heard(opened.node, at: address, now: now)
        let datagram = ReceivedDatagram(
            bytes: opened.bytes, source: address, sender: PeerID(rawValue: opened.node), senderBootID: opened.bootID)
        if case .dropped = inbox.yield(datagram) { counted.datagramsOverflowed += 1 }
    }
}
