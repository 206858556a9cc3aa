internal import ClusterModel

/// The streams of one link: frames in, frames out, credit, turns.
///
/// No socket, no clock, no cipher.
///
/// Invariants: for each stream, what is buffered inbound costs at most `WireLimits.windowBytes`; for the link, at most
/// `WireLimits.linkBufferBytes` and one frame.
struct StreamMultiplexer {
    enum Event: Equatable {
        case opened(stream: UInt32, service: String, priority: StreamPriority)
        /// A message, the end or a reset can be taken.
        case readable(stream: UInt32)
        /// There is room for more, or the stream is over.
        case writable(stream: UInt32)
        case pinged
        case ponged
        case goAway
    }

    /// What a reader gets.
    enum Taken: Equatable {
        case message([UInt8])
        case end
        case reset
        case nothingYet
    }

    enum OpenFault: Error {
        case tooMany
    }

    /// A frame without turns and credit, which goes before all data.
    struct ControlFrame {
        let type: FrameType
        let stream: UInt32
        let data: [UInt8]
    }

    /// Streams opened here have this parity: the dialer's are odd.
    let ownParity: UInt32
    var streams: [UInt32: MuxStream] = [:]
    var nextOwn: UInt32
    var lastPeer: UInt32 = 0
    var ownCount = 0
    var control = Fifo<ControlFrame>()
    var owedCredits = Fifo<UInt32>()
    var turns = TurnQueues()
    /// The newest ping that waits for its pong: one answer is enough.
    var owedPong: [UInt8]?
    var owedResets = 0
    /// What all streams hold for their readers.
    private(set) var held = 0
    /// Bytes of messages that were framed and received.
    var sentBytes: [StreamPriority: UInt64] = [:]
    var receivedBytes: [StreamPriority: UInt64] = [:]

    init(isDialer: Bool) {
        ownParity = isDialer ? 1 : 0
        nextOwn = isDialer ? 1 : 2
    }

    /// Streams that are not over, or not read to their end.
    var streamCount: Int { streams.count }
    func service(of stream: UInt32) -> String? { streams[stream]?.service }

    /// Whether the stream was reset, by either side, or is forgotten.
    func isReset(_ id: UInt32) -> Bool { streams[id]?.isReset ?? true }

    // MARK: Orders of this side

    mutating func open(service: String, priority: StreamPriority = .control) throws(OpenFault) -> UInt32 {
        guard ownCount < WireLimits.streamsMax, nextOwn < UInt32.max - 2 else { throw .tooMany }
        let id = nextOwn
        nextOwn += 2
        ownCount += 1
        streams[id] = MuxStream(service: service, priority: priority)
        enqueueControl(.open, stream: id, data: [priority.rawValue] + Array(service.utf8))
        return id
    }

    /// Whether `send` may be called now; a stream that is over says yes, and `send` fails.
    func hasRoom(_ id: UInt32) -> Bool {
        guard let stream = streams[id], !stream.isReset else { return true }
        return stream.queuedBytes < WireLimits.sendBufferBytes
    }

    /// Queues a message; false when the stream is over or finished on this side.
    mutating func send(_ message: [UInt8], on id: UInt32) -> Bool {
        guard var stream = streams.removeValue(forKey: id) else { return false }
        defer { streams[id] = stream }
        guard !stream.isReset, !stream.isFinishing else { return false }
        stream.queue.append(message)
        stream.queuedBytes += message.count
        giveTurn(&stream, id)
        return true
    }

    mutating func finish(_ id: UInt32) {
        guard var stream = streams.removeValue(forKey: id) else { return }
        stream.isFinishing = true
        giveTurn(&stream, id)
        streams[id] = stream
    }

    mutating func reset(_ id: UInt32) {
        guard let stream = streams[id] else { return }
        let isOver = stream.isReset || (stream.isFinishSent && stream.isPeerFinished)
        if !isOver { enqueueControl(.reset, stream: id) }
        remove(id)
    }

    /// The stream's user has let go of it: what it has sent still goes out, what comes is dropped.
    mutating func abandon(_ id: UInt32) {
        guard let stream = streams[id] else { return }
        guard stream.isFinishing, !stream.isReset, !stream.isFinishSent else { return reset(id) }
        change(id) {
            $0.isAbandoned = true
            $0.dropReceived()
        }
    }

    /// The next message for the stream's reader.
    mutating func take(_ id: UInt32) -> Taken {
        guard let next = streams[id]?.messages.popFirst() else {
            guard let stream = streams[id] else { return .reset }
            if stream.isPeerFinished { return .end }
            return stream.isReset ? .reset : .nothingYet
        }
        streams[id]?.messagesCost -= next.cost
        held -= next.cost
        owe(next.cost, id)
        return .message(next.bytes)
    }

    /// Ends all streams, as the link is over.
    ///
    /// What was received whole can still be read.
    mutating func fail() -> [Event] {
        var events: [Event] = []
        for id in streams.keys.sorted() { events += ended(id) }
        return events
    }

    mutating func ping(_ payload: UInt64) {
        var data: [UInt8] = []
        data.append(number: payload)
        enqueueControl(.ping, stream: 0, data: data)
    }

    mutating func goAway() { enqueueControl(.goAway, stream: 0) }

    // MARK: For the parts of this type

    /// Changes a stream, and keeps the sum of what is held.
    mutating func change(_ id: UInt32, _ body: (inout MuxStream) -> Void) {
        guard var stream = streams.removeValue(forKey: id) else { return }
        held -= stream.held
        body(&stream)
        held += stream.held
        streams[id] = stream
    }

    /// The stream holds so much more for its reader.
    mutating func hold(_ difference: Int) { held += difference }

    mutating func giveTurn(_ stream: inout MuxStream, _ id: UInt32) {
        guard !stream.isInTurn, stream.canSendFrame else { return }
        stream.isInTurn = true
        turns.append(id, stream.priority)
    }

    mutating func enqueueControl(_ type: FrameType, stream: UInt32, data: [UInt8] = []) {
        control.append(ControlFrame(type: type, stream: stream, data: data))
        if type == .reset { owedResets += 1 }
    }

    /// Marks a stream as reset; what was received up to the peer's end can still be read.
    mutating func ended(_ id: UInt32) -> [Event] {
        guard let stream = streams[id], !stream.isReset else { return [] }
        if stream.isAbandoned {
            remove(id)
            return []
        }
        change(id) {
            $0.isReset = true
            $0.queue = Fifo()
            $0.queuedBytes = 0
            if $0.isPeerFinished { $0.dropPartial() } else { $0.dropReceived() }
        }
        return [.readable(stream: id), .writable(stream: id)]
    }

    /// Removes a stream that its user need not see any more.
    mutating func remove(_ id: UInt32) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        held -= stream.held
        if id % 2 == ownParity { ownCount -= 1 }
    }

    private mutating func owe(_ cost: Int, _ id: UInt32) {
        guard var stream = streams[id], !stream.isPeerFinished, !stream.isReset else { return }
        stream.owedCredit += cost
        if !stream.isCreditPending, stream.owedCredit >= WireLimits.windowBytes / 4 {
            stream.isCreditPending = true
            owedCredits.append(id)
        }
        streams[id] = stream
    }
}
