internal import ClusterModel
internal import Sodium

/// One link without its socket: bytes in, events and bytes out.
///
/// First the handshake, then records of frames.
struct LinkMachine {
    enum Event: Equatable {
        case established(peer: PeerID, bootID: UInt64)
        case stream(StreamMultiplexer.Event)
    }

    private enum Phase {
        case handshake(Handshake)
        case open(sealing: RecordCipher, opening: RecordCipher)
    }

    private var phase: Phase
    private var inbound: [UInt8] = []
    private var consumed = 0
    private var handshakeOutput: [UInt8] = []
    var streams: StreamMultiplexer
    /// The cluster key that the handshake was made with, once it is over.
    private(set) var key: KeyFingerprint?

    init(role: Handshake.Role, configuration: PeerLinkConfiguration) throws {
        var handshake = try Handshake(role: role, configuration: configuration)
        if role == .dialer { handshakeOutput = handshake.hello() }
        phase = .handshake(handshake)
        streams = StreamMultiplexer(isDialer: role == .dialer)
    }

    var isEstablished: Bool { if case .open = phase { true } else { false } }

    /// Takes bytes from the socket.
    ///
    /// - Throws: `Handshake.Fault` before the link is established, `LinkFault` after; the link is over then.
    mutating func receive(_ bytes: [UInt8]) throws -> [Event] {
        inbound += bytes
        defer { compact() }
        var events: [Event] = []
        while try receiveNext(&events) {}
        return events
    }

    private mutating func receiveNext(_ events: inout [Event]) throws -> Bool {
        let available = inbound.count - consumed
        switch phase {
        case .handshake(var handshake):
            let wanted = handshake.bytesWanted
            guard available >= wanted else { return false }
            let message = Array(inbound[consumed..<consumed + wanted])
            consumed += wanted
            let (answer, result) = try handshake.receive(message)
            handshakeOutput += answer
            guard let result else {
                phase = .handshake(handshake)
                return true
            }
            phase = .open(sealing: result.sealing, opening: result.opening)
            key = result.key
            let peer = PeerID(rawValue: NodeIdentity.id(ofPublicKey: result.peerPublicKey))
            events.append(.established(peer: peer, bootID: result.peerBootID))
        case .open(let sealing, var opening):
            guard available >= RecordCipher.lengthBytes else { return false }
            let length = Int(inbound[consumed]) << 8 | Int(inbound[consumed + 1])
            guard length >= SealingKey.tagBytes else { throw LinkFault.damaged }
            guard available >= RecordCipher.lengthBytes + length else { return false }
            let start = consumed + RecordCipher.lengthBytes
            consumed = start + length
            guard let plain = try opening.open(&inbound, range: start..<start + length) else { throw LinkFault.damaged }
            phase = .open(sealing: sealing, opening: opening)
            events += try streams.receive(inbound, in: plain).map { .stream($0) }
        }
        return true
    }

    private mutating func compact() {
        guard consumed > 0 else { return }
        inbound.removeFirst(consumed)
        consumed = 0
    }

    /// The next bytes for the socket: a handshake message or one record.
    ///
    /// Empty when nothing is due.
    mutating func takeOutput() throws -> (bytes: [UInt8], events: [Event]) {
        if !handshakeOutput.isEmpty {
            defer { handshakeOutput = [] }
            return (handshakeOutput, [])
        }
        guard case .open(var sealing, let opening) = phase else { return ([], []) }
        var record = [UInt8](repeating: 0, count: RecordCipher.lengthBytes)
        let events = streams.fill(&record, bytesMax: RecordCipher.lengthBytes + RecordCipher.plaintextBytesMax)
        guard record.count > RecordCipher.lengthBytes else { return ([], events.map { .stream($0) }) }
        try sealing.seal(record: &record)
        phase = .open(sealing: sealing, opening: opening)
        return (record, events.map { .stream($0) })
    }
}
