internal import BuildKitProtocol
internal import FileSync
internal import Synchronization

/// Packets of one direction in memory, with all that passed kept for inspection.
final class PacketWire: Sendable {
    let packets: AsyncStream<Fsutil_Types_Packet>
    private let continuation: AsyncStream<Fsutil_Types_Packet>.Continuation
    private let log = Mutex<[Fsutil_Types_Packet]>([])

    init() { (packets, continuation) = AsyncStream.makeStream() }

    @Sendable func send(_ packet: Fsutil_Types_Packet) {
        log.withLock { $0.append(packet) }
        continuation.yield(packet)
    }

    func end() { continuation.finish() }
    var sent: [Fsutil_Types_Packet] { log.withLock { $0 } }
    func count(of type: Fsutil_Types_Packet.PacketType) -> Int { sent.count { $0.type == type } }
}

/// What one exchange did.
struct Exchange {
    let outcome: DirectoryReceiver.Outcome
    /// From sender to receiver.
    let forward: PacketWire
    /// From receiver to sender.
    let backward: PacketWire

    /// Paths in the order in which they were listed.
    var listed: [String] { forward.sent.filter(\.hasStat).map(\.stat.path) }

    static func run(_ sender: DirectorySender, _ receiver: DirectoryReceiver) async throws -> Exchange {
        let (forward, backward) = (PacketWire(), PacketWire())
        async let sending: Void = {
            defer { forward.end() }
            try await sender.run(packets: backward.packets) { forward.send($0) }
        }()
        let outcome: DirectoryReceiver.Outcome
        do {
            outcome = try await receiver.run(packets: forward.packets) { backward.send($0) }
            backward.end()
        } catch {
            backward.end()
            try? await sending
            throw error
        }
        try await sending
        return Exchange(outcome: outcome, forward: forward, backward: backward)
    }
}

extension Fsutil_Types_Packet {
    static func entry(_ path: String, mode: UInt32 = 0o644, link: String = "", size: Int64 = 0) -> Self {
        var packet = Self()
        packet.stat.path = path
        packet.stat.mode = mode
        packet.stat.linkname = link
        packet.stat.size = size
        return packet
    }

    static func of(_ type: PacketType, id: UInt32 = 0, _ text: String = "") -> Self {
        var packet = Self()
        packet.type = type
        packet.id = id
        packet.data.append(contentsOf: text.utf8)
        return packet
    }
}
