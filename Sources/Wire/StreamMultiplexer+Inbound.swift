internal import ClusterModel

/// Frames in: everything here comes from a peer that has the key, and may still be wrong.
extension StreamMultiplexer {
    /// Takes the frames of an opened record.
    mutating func receive(_ record: UnsafeRawBufferPointer) throws(LinkFault) -> [Event] {
        var reader = FrameReader(record)
        var events: [Event] = []
        while let frame = try reader.next() { events += try receive(frame) }
        return events
    }

    private mutating func receive(_ frame: FrameReader.Frame) throws(LinkFault) -> [Event] {
        let (id, data) = (frame.stream, frame.data)
        switch frame.type {
        case .open: return try peerOpened(id, data)
        case .data:
            guard data.count > FrameWriter.restBytes else { throw .violation("a part of \(data.count) bytes") }
            let rest = Int(FrameReader.number(data, at: 0, bytes: FrameWriter.restBytes))
            guard rest > 0 else { throw .violation("a part with nothing to follow") }
            let part = UnsafeRawBufferPointer(rebasing: data[FrameWriter.restBytes...])
            return try dataReceived(id, part, rest: rest)
        case .dataEnd: return try dataReceived(id, data, rest: 0)
        case .finish: return try peerFinished(id)
        case .reset:
            try checkKnown(id)
            return ended(id)
        case .credit: return try creditReceived(id, data)
        case .ping:
            guard data.count == 8 else { throw .violation("ping of \(data.count) bytes") }
            owedPong = [UInt8](data)
            return [.pinged]
        case .pong: return [.ponged]
        case .goAway: return [.goAway]
        }
    }

    private mutating func peerOpened(_ id: UInt32, _ data: UnsafeRawBufferPointer) throws(LinkFault) -> [Event] {
        guard id % 2 != ownParity, id > lastPeer else { throw .violation("stream \(id) opened after \(lastPeer)") }
        guard let priority = data.first.flatMap(StreamPriority.init(rawValue:)) else {
            throw .violation("a stream of unknown priority")
        }
        guard (1...WireLimits.serviceNameBytesMax).contains(data.count - 1),
            let service = String(validating: data.dropFirst(), as: UTF8.self)
        else { throw .violation("service name of \(data.count - 1) bytes") }
        lastPeer = id
        // Twice the opener's bound: here a stream lasts until it is read, there until it is sent.
        guard streams.count - ownCount < WireLimits.streamsMax * 2 else {
            guard owedResets < WireLimits.owedResetsMax else { throw .violation("too many streams opened") }
            enqueueControl(.reset, stream: id)
            return []
        }
        streams[id] = MuxStream(service: service, priority: priority)
        return [.opened(stream: id, service: service, priority: priority)]
    }

    /// A part of a message, of which `rest` bytes are still to come.
    private mutating func dataReceived(
        _ id: UInt32, _ data: UnsafeRawBufferPointer, rest: Int
    ) throws(LinkFault) -> [Event] {
        guard var stream = streams.removeValue(forKey: id) else {
            try checkKnown(id)
            return []  // Sent before the peer knew of the reset.
        }
        let heldBefore = stream.held
        defer {
            hold(stream.held - heldBefore)
            streams[id] = stream
        }
        guard !stream.isPeerFinished else { throw .violation("data after the end of stream \(id)") }
        let cost = data.count + WireLimits.frameCost
        guard cost <= stream.receiveCredit else { throw .violation("stream \(id) sent beyond its window") }
        stream.receiveCredit -= cost
        receivedBytes[stream.priority, default: 0] += UInt64(data.count)
        guard !stream.isAbandoned, !stream.isReset else { return [] }
        if let promised = stream.partialRest {
            guard data.count + rest == promised else {
                throw .violation("\(data.count + rest) more bytes of a message instead of \(promised)")
            }
        } else {
            guard data.count + rest <= PeerStreamLimits.messageBytesMax else {
                throw .violation("message longer than \(PeerStreamLimits.messageBytesMax) bytes")
            }
            guard held + cost + rest <= WireLimits.linkBufferBytes else {
                throw .violation("more than \(WireLimits.linkBufferBytes) bytes that nobody has read")
            }
            stream.partial.reserveCapacity(data.count + rest)
        }
        stream.partial += data
        stream.partialCost += cost
        stream.partialRest = rest
        guard rest == 0 else { return [] }
        stream.messages.append((stream.partial, stream.partialCost))
        stream.messagesCost += stream.partialCost
        stream.dropPartial()
        return [.readable(stream: id)]
    }

    private mutating func peerFinished(_ id: UInt32) throws(LinkFault) -> [Event] {
        guard let stream = streams[id] else {
            try checkKnown(id)
            return []
        }
        guard stream.partialRest == nil, !stream.isPeerFinished else {
            throw .violation("stream \(id) ends inside a message")
        }
        streams[id]?.isPeerFinished = true
        return [.readable(stream: id)]
    }

    private mutating func creditReceived(_ id: UInt32, _ data: UnsafeRawBufferPointer) throws(LinkFault) -> [Event] {
        guard data.count == 4 else { throw .violation("credit of \(data.count) bytes") }
        let credit = FrameReader.number(data, at: 0, bytes: 4)
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
}
