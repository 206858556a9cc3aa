internal import ClusterModel

/// The streams of one link: frames in, frames out, credit, turns.
///
/// No socket, no clock, no cipher.
///
/// Invariant: for each stream, what is buffered inbound costs at most `WireLimits.windowBytes`.
struct StreamMultiplexer {
    enum Event: Equatable {
        case opened(stream: UInt32, service: String)
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

    /// Streams opened here have this parity: the dialer's are odd.
    private let ownParity: UInt32
    private var streams: [UInt32: MuxStream] = [:]
    private var nextOwn: UInt32
    private var lastPeer: UInt32 = 0
    private var ownCount = 0
    private var control = Fifo<[UInt8]>()
    private var owedCredits = Fifo<UInt32>()
    private var turns = Fifo<UInt32>()
    /// The newest ping that waits for its pong: one answer is enough.
    private var owedPong: [UInt8]?
    private var owedResets = 0

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

    mutating func open(service: String) throws(OpenFault) -> UInt32 {
        guard ownCount < WireLimits.streamsMax, nextOwn < UInt32.max - 2 else { throw .tooMany }
        let id = nextOwn
        nextOwn += 2
        ownCount += 1
        streams[id] = MuxStream(service: service)
        enqueueControl(.open, stream: id, data: Array(service.utf8))
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
        guard var stream = streams[id] else { return }
        guard stream.isFinishing, !stream.isReset, !stream.isFinishSent else { return reset(id) }
        stream.isAbandoned = true
        stream.messages = Fifo()
        stream.partial = []
        streams[id] = stream
    }

    /// The next message for the stream's reader.
    mutating func take(_ id: UInt32) -> Taken {
        guard let next = streams[id]?.messages.popFirst() else {
            guard let stream = streams[id] else { return .reset }
            if stream.isPeerFinished { return .end }
            return stream.isReset ? .reset : .nothingYet
        }
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

    // MARK: Frames out

    /// Appends frames to `record` until it holds `bytesMax` bytes or nothing is due: control first, then streams in turn.
    mutating func fill(_ record: inout [UInt8], bytesMax: Int) -> [Event] {
        fillControl(&record, bytesMax: bytesMax)
        var events: [Event] = []
        let dataFrameMax = FrameCodec.headerBytes + WireLimits.frameDataBytesMax
        while record.count + dataFrameMax <= bytesMax, let id = turns.popFirst() {
            guard var stream = streams.removeValue(forKey: id) else { continue }
            stream.isInTurn = false
            let hadRoom = stream.queuedBytes < WireLimits.sendBufferBytes
            appendFrame(of: &stream, id, to: &record)
            if !hadRoom, stream.queuedBytes < WireLimits.sendBufferBytes { events.append(.writable(stream: id)) }
            giveTurn(&stream, id)
            streams[id] = stream
            finishIfAbandoned(id)
        }
        return events
    }

    private mutating func fillControl(_ record: inout [UInt8], bytesMax: Int) {
        if let pong = owedPong {
            FrameCodec.append(.pong, stream: 0, data: pong[...], to: &record)
            owedPong = nil
        }
        while let frame = control.first, record.count + frame.count <= bytesMax {
            if frame[0] == FrameType.reset.rawValue { owedResets -= 1 }
            record += frame
            _ = control.popFirst()
        }
        while record.count + FrameCodec.headerBytes + 4 <= bytesMax, let id = owedCredits.popFirst() {
            guard let owed = streams[id]?.owedCredit else { continue }
            streams[id]?.owedCredit = 0
            streams[id]?.isCreditPending = false
            streams[id]?.receiveCredit += owed
            var data: [UInt8] = []
            data.append(number: UInt32(owed))
            FrameCodec.append(.credit, stream: id, data: data[...], to: &record)
        }
    }

    private func appendFrame(of stream: inout MuxStream, _ id: UInt32, to record: inout [UInt8]) {
        if let bytes = stream.nextDataBytes, let message = stream.queue.first {
            let end = stream.framed + bytes
            let isLast = end == message.count
            FrameCodec.append(isLast ? .dataEnd : .data, stream: id, data: message[stream.framed..<end], to: &record)
            stream.framed = isLast ? 0 : end
            stream.queuedBytes -= bytes
            stream.sendCredit -= bytes + WireLimits.frameCost
            if isLast { _ = stream.queue.popFirst() }
        } else if stream.isFinishDue {
            FrameCodec.append(.finish, stream: id, to: &record)
            stream.isFinishSent = true
        }
    }

    private mutating func finishIfAbandoned(_ id: UInt32) {
        guard let stream = streams[id], stream.isAbandoned, stream.isFinishSent else { return }
        if !stream.isPeerFinished { enqueueControl(.reset, stream: id) }
        remove(id)
    }

    private mutating func giveTurn(_ stream: inout MuxStream, _ id: UInt32) {
        guard !stream.isInTurn, stream.canSendFrame else { return }
        stream.isInTurn = true
        turns.append(id)
    }

    private mutating func enqueueControl(_ type: FrameType, stream: UInt32, data: [UInt8] = []) {
        var frame: [UInt8] = []
        FrameCodec.append(type, stream: stream, data: data[...], to: &frame)
        control.append(frame)
        if type == .reset { owedResets += 1 }
    }

    // MARK: Frames in

    /// Takes the frames of an opened record, `buffer[range]`.
    mutating func receive(_ buffer: [UInt8], in range: Range<Int>) throws(LinkFault) -> [Event] {
        var reader = ByteReader(buffer, in: range)
        var events: [Event] = []
        while reader.remaining > 0 {
            guard let code = reader.number(UInt8.self), let id = reader.number(UInt32.self),
                let length = reader.number(UInt16.self), let data = reader.take(Int(length))
            else { throw .violation("a frame is cut off") }
            guard let type = FrameType(rawValue: code) else { throw .violation("frame type \(code)") }
            events += try receive(type, id, data)
        }
        return events
    }

    private mutating func receive(
        _ type: FrameType, _ id: UInt32, _ data: ArraySlice<UInt8>
    ) throws(LinkFault) -> [Event] {
        switch type {
        case .open: return try peerOpened(id, data)
        case .data, .dataEnd: return try dataReceived(id, data, isLast: type == .dataEnd)
        case .finish: return try peerFinished(id)
        case .reset:
            try checkKnown(id)
            return ended(id)
        case .credit: return try creditReceived(id, data)
        case .ping:
            guard data.count == 8 else { throw .violation("ping of \(data.count) bytes") }
            owedPong = Array(data)
            return [.pinged]
        case .pong: return [.ponged]
        case .goAway: return [.goAway]
        }
    }

    private mutating func peerOpened(_ id: UInt32, _ data: ArraySlice<UInt8>) throws(LinkFault) -> [Event] {
        guard id % 2 != ownParity, id > lastPeer else { throw .violation("stream \(id) opened after \(lastPeer)") }
        guard (1...WireLimits.serviceNameBytesMax).contains(data.count),
            let service = String(validating: data, as: UTF8.self)
        else { throw .violation("service name of \(data.count) bytes") }
        lastPeer = id
        // Twice the opener's bound: here a stream lasts until it is read, there until it is sent.
        guard streams.count - ownCount < WireLimits.streamsMax * 2 else {
            guard owedResets < WireLimits.owedResetsMax else { throw .violation("too many streams opened") }
            enqueueControl(.reset, stream: id)
            return []
        }
        streams[id] = MuxStream(service: service)
        return [.opened(stream: id, service: service)]
    }

    private mutating func dataReceived(
        _ id: UInt32, _ data: ArraySlice<UInt8>, isLast: Bool
    ) throws(LinkFault) -> [Event] {
        guard var stream = streams.removeValue(forKey: id) else {
            try checkKnown(id)
            return []  // Sent before the peer knew of the reset.
        }
        defer { streams[id] = stream }
        guard !stream.isPeerFinished else { throw .violation("data after the end of stream \(id)") }
        let cost = data.count + WireLimits.frameCost
        guard data.count <= WireLimits.frameDataBytesMax, cost <= stream.receiveCredit else {
            throw .violation("stream \(id) sent beyond its window")
        }
        stream.receiveCredit -= cost
        guard !stream.isAbandoned, !stream.isReset else { return [] }
        guard stream.partial.count + data.count <= PeerStreamLimits.messageBytesMax else {
            throw .violation("message longer than \(PeerStreamLimits.messageBytesMax) bytes")
        }
        stream.partial += data
        stream.partialCost += cost
        guard isLast else { return [] }
        stream.messages.append((stream.partial, stream.partialCost))
        stream.partial = []
        stream.partialCost = 0
        return [.readable(stream: id)]
    }

    private mutating func peerFinished(_ id: UInt32) throws(LinkFault) -> [Event] {
        guard let stream = streams[id] else {
            try checkKnown(id)
            return []
        }
        guard stream.partial.isEmpty, !stream.isPeerFinished else {
            throw .violation("stream \(id) ends inside a message")
        }
        streams[id]?.isPeerFinished = true
        return [.readable(stream: id)]
    }

    private mutating func creditReceived(_ id: UInt32, _ data: ArraySlice<UInt8>) throws(LinkFault) -> [Event] {
        var reader = ByteReader(Array(data))
        guard data.count == 4, let credit = reader.number(UInt32.self) else { throw .violation("credit frame") }
        guard var stream = streams.removeValue(forKey: id) else {
            try checkKnown(id)
            return []
        }
        defer { streams[id] = stream }
        stream.sendCredit += Int(credit)
        guard stream.sendCredit <= WireLimits.windowBytes else { throw .violation("credit beyond the window") }
        giveTurn(&stream, id)
        return []
    }

    private func checkKnown(_ id: UInt32) throws(LinkFault) {
        let isKnown = id != 0 && (id % 2 == ownParity ? id < nextOwn : id <= lastPeer)
        guard isKnown else { throw .violation("stream \(id) was never opened") }
    }

    // MARK: Ends

    /// Marks a stream as reset; what was received up to the peer's end can still be read.
    private mutating func ended(_ id: UInt32) -> [Event] {
        guard var stream = streams[id], !stream.isReset else { return [] }
        if stream.isAbandoned {
            remove(id)
            return []
        }
        stream.isReset = true
        stream.queue = Fifo()
        stream.queuedBytes = 0
        stream.partial = []
        if !stream.isPeerFinished { stream.messages = Fifo() }
        streams[id] = stream
        return [.readable(stream: id), .writable(stream: id)]
    }

    /// Removes a stream that its user need not see any more.
    private mutating func remove(_ id: UInt32) {
        guard streams.removeValue(forKey: id) != nil else { return }
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
