internal import ClusterKeys
internal import ClusterModel
internal import Sodium
internal import UVLoop

/// One link without its socket and its threads: bytes in, events and bytes out.
///
/// First the handshake, then records of frames. Ciphers may leave with a batch of records and come back with it; until
/// then the other direction goes on, and this one waits.
struct LinkMachine {
    enum Event: Equatable {
        case established(peer: PeerID, bootID: UInt64)
        case stream(StreamMultiplexer.Event)
    }

    /// What is to be done next with what was read.
    enum Inbound {
        case events([Event])
        /// Open this, wherever, and bring it back with `opened`.
        case open(RecordBatch)
        /// Nothing, until more is read or the batch in work comes back.
        case waiting
    }

    private var handshake: Handshake?
    private var handshakeOutput: [UInt8] = []
    /// nil during the handshake, and while a batch has it.
    private var sealing: RecordCipher?
    private var opening: RecordCipher?
    private var inbound: InboundBytes
    private let pool: BlockPool
    private(set) var algorithm: RecordAlgorithm?
    /// Which of the ring's keys the peer proved to have.
    private(set) var clusterKeyID: UInt8?
    private(set) var sent = LinkReport.Direction()
    private(set) var received = LinkReport.Direction()
    var streams: StreamMultiplexer
    /// The cluster key that the handshake was made with, once it is over.
    private(set) var key: KeyFingerprint?

    init(role: Handshake.Role, configuration: PeerLinkConfiguration, pool: BlockPool = BlockPool()) throws {
        var handshake = try Handshake(role: role, configuration: configuration)
        if role == .dialer { handshakeOutput = handshake.hello() }
        self.handshake = handshake
        self.pool = pool
        inbound = InboundBytes(pool: pool)
        streams = StreamMultiplexer(isDialer: role == .dialer)
    }

    var isEstablished: Bool { handshake == nil }

    // MARK: In

    /// Whether the socket must not be read now, because there is no room before something is opened.
    var isInboundFull: Bool { inbound.isFull }

    /// Memory for the socket's next bytes; not while `isInboundFull`.
    mutating func room() -> ReadRoom { inbound.room() }

    /// So many bytes were read into the last `room`.
    mutating func filled(_ count: Int) { inbound.filled(count) }

    /// Takes the next step with what was read.
    ///
    /// - Throws: `Handshake.Fault` before the link is established, `LinkFault` after; the link is over then.
    mutating func next() throws -> Inbound {
        if handshake != nil { return try nextOfHandshake() }
        guard let cipher = opening else { return .waiting }
        let (texts, bytes) = try inbound.records(bytesMax: WireLimits.batchBytesMax)
        guard !texts.isEmpty, let (block, end) = inbound.detach(bytes) else { return .waiting }
        opening = nil
        return .open(RecordBatch(block: block, texts: texts, end: end, cipher: cipher))
    }

    /// Takes back a batch that was opened.
    mutating func opened(_ batch: RecordBatch) throws -> [Event] {
        opening = batch.cipher
        received = batch.cipher.passed
        if let failure = batch.failure { throw failure }
        var events: [Event] = []
        try batch.forEachText { text throws(LinkFault) in
            events += try streams.receive(text).map { .stream($0) }
        }
        pool.give(batch.block)
        return events
    }

    private mutating func nextOfHandshake() throws -> Inbound {
        guard var current = handshake, inbound.count >= current.bytesWanted else { return .waiting }
        let (answer, result) = try current.receive(inbound.take(current.bytesWanted))
        handshakeOutput += answer
        guard let result else {
            handshake = current
            return .events([])
        }
        handshake = nil
        (sealing, opening) = (result.sealing, result.opening)
        algorithm = result.sealing.algorithm
        clusterKeyID = result.clusterKeyID
        key = result.key
        let peer = PeerID(rawValue: NodeIdentity.id(ofPublicKey: result.peerPublicKey))
        return .events([.established(peer: peer, bootID: result.peerBootID)])
    }

    // MARK: Out

    /// The handshake's next bytes for the socket; they go before any record.
    mutating func takeHandshakeOutput() -> [UInt8] {
        defer { handshakeOutput = [] }
        return handshakeOutput
    }

    /// The next records for the socket, still to be sealed, wherever, and brought back with `sealed`.
    ///
    /// No batch when nothing is due, or another is in work.
    mutating func fill(bulkAllowance: inout Int) -> (batch: RecordBatch?, events: [Event]) {
        guard let cipher = sealing else { return (nil, []) }
        let block = pool.take()
        var texts: [Range<Int>] = []
        var events: [Event] = []
        var end = 0
        while block.capacity - end >= WireLimits.recordTextBytesMax + RecordCipher.overhead {
            let start = end + RecordCipher.lengthBytes
            var writer = FrameWriter(block.start + start, capacity: WireLimits.recordTextBytesMax)
            events += streams.fill(&writer, bulkAllowance: &bulkAllowance).map { .stream($0) }
            guard writer.count > 0 else { break }
            texts.append(start..<start + writer.count)
            end = start + writer.count + RecordCipher.overhead - RecordCipher.lengthBytes
        }
        guard !texts.isEmpty else {
            pool.give(block)
            return (nil, events)
        }
        sealing = nil
        return (RecordBatch(block: block, texts: texts, end: end, cipher: cipher), events)
    }

    /// Takes back the cipher of a batch that was sealed; its bytes go to the socket next.
    mutating func sealed(_ batch: RecordBatch) throws {
        sealing = batch.cipher
        sent = batch.cipher.passed
        if let failure = batch.failure { throw failure }
    }
}
