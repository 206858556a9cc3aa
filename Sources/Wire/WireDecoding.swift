internal import ClusterModel
internal import Sodium

/// The decoders of the peer plane for whoever tests them with bytes of any kind.
package struct WireDecoding {
    /// Datagram, hello, reply, proof and a record of frames as nodes with this ring send them.
    package private(set) var datagrams: [[UInt8]] = []
    package private(set) var hellos: [[UInt8]] = []
    package private(set) var replies: [[UInt8]] = []
    package private(set) var proofs: [[UInt8]] = []
    package private(set) var records: [[UInt8]] = []
    private var seal: DatagramSeal
    /// Machines that wait for a hello, for a reply and for a proof; each input is given to a copy.
    private let listening: LinkMachine
    private let dialing: LinkMachine
    private let proving: LinkMachine

    package init() throws {
        let ring = ClusterKeyRing(primary: try .generate(), others: [try .generate()])
        let identities = [try NodeIdentity.generate(), try NodeIdentity.generate()]
        seal = try DatagramSeal(keys: ring, clusterName: "fuzz", node: identities[1].id, bootID: 7)
        var sender = try DatagramSeal(keys: ring, clusterName: "fuzz", node: identities[0].id, bootID: 7)
        for (bound, padding) in [(false, 0), (true, 0), (false, 512)] {
            let receiver = bound ? DatagramSeal.Receiver(node: identities[1].id, bootID: 7) : nil
            datagrams.append(sender.seal([UInt8](repeating: 5, count: 60), for: receiver, paddedTo: padding))
        }
        var dialer = try Self.machine(.dialer, ring, identities[0])
        var listener = try Self.machine(.listener, ring, identities[1])
        listening = listener
        hellos.append(dialer.takeHandshakeOutput())
        dialing = dialer
        _ = try listener.receive(hellos[0])
        replies.append(listener.takeHandshakeOutput())
        proving = listener
        _ = try dialer.receive(replies[0])
        proofs.append(dialer.takeHandshakeOutput())
        records.append(Self.record())
    }

    private static func record() -> [UInt8] {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 256) { memory in
            guard let start = memory.baseAddress else { return [] }
            var writer = FrameWriter(start, capacity: memory.count)
            writer.append(.open, stream: 1, data: [1] + Array("have".utf8))
            writer.append(.dataEnd, stream: 1, data: [1, 2, 3])
            writer.append(.ping, stream: 0, data: [UInt8](repeating: 1, count: 8))
            writer.append(.finish, stream: 1)
            writer.append(.goAway, stream: 0)
            return Array(memory.prefix(writer.count))
        }
    }

    private static func machine(
        _ role: Handshake.Role, _ ring: ClusterKeyRing, _ identity: NodeIdentity
    ) throws -> LinkMachine {
        try LinkMachine(
            role: role,
            configuration: PeerLinkConfiguration(
                bind: PeerAddress(host: "127.0.0.1", port: 0), identity: identity, bootID: 7, keys: ring,
                clusterName: "fuzz"))
    }

    /// Opens a datagram; what opens has to be what was sealed.
    package mutating func openDatagram(_ bytes: [UInt8]) -> Bool {
        var copy = bytes
        guard case .opened = seal.open(&copy, now: 0) else { return false }
        return true
    }

    /// Gives bytes to a listener that waits for a hello.
    package func hello(_ bytes: [UInt8]) throws {
        var listener = listening
        _ = try listener.receive(bytes)
    }

    /// Gives bytes to a dialer that waits for the listener's proof.
    package func reply(_ bytes: [UInt8]) throws {
        var dialer = dialing
        _ = try dialer.receive(bytes)
    }

    /// Gives bytes to a listener that waits for the dialer's proof.
    package func proof(_ bytes: [UInt8]) throws {
        var listener = proving
        _ = try listener.receive(bytes)
    }

    /// Gives an opened record to a fresh multiplexer and lets it answer.
    package func frames(_ bytes: [UInt8]) throws {
        var streams = StreamMultiplexer(isDialer: false)
        _ = try bytes.withUnsafeBytes { (raw: UnsafeRawBufferPointer) throws -> Int in try streams.receive(raw).count }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: WireLimits.recordTextBytesMax) { memory in
            guard let start = memory.baseAddress else { return }
            // The writer traps on a frame that does not fit.
            var writer = FrameWriter(start, capacity: memory.count)
            var allowance = Int.max
            _ = streams.fill(&writer, bulkAllowance: &allowance)
        }
    }
}
