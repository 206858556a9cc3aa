internal import ClusterModel

/// Frames out.
extension StreamMultiplexer {
    /// Whether data waits that only the rate limit keeps back.
    var isBulkWaiting: Bool { turns.isWaiting(allowsBulk: true) }

    /// Writes frames until `record` is full or nothing is due: control first, then streams in turn.
    ///
    /// Bulk goes only while `bulkAllowance`, in bytes, is above zero, and takes from it; the last frame may overdraw it.
    mutating func fill(_ record: inout FrameWriter, bulkAllowance: inout Int) -> [Event] {
        fillControl(&record)
        var events: [Event] = []
        while record.room >= Self.roomForData, let (id, priority) = turns.next(allowsBulk: bulkAllowance > 0) {
            guard var stream = streams.removeValue(forKey: id) else { continue }
            stream.isInTurn = false
            let queued = stream.queuedBytes
            appendFrame(of: &stream, id, to: &record)
            let sent = queued - stream.queuedBytes
            if priority.isBulk { bulkAllowance -= sent }
            sentBytes[priority, default: 0] += UInt64(sent)
            if queued >= WireLimits.sendBufferBytes, stream.queuedBytes < WireLimits.sendBufferBytes {
                events.append(.writable(stream: id))
            }
            giveTurn(&stream, id)
            streams[id] = stream
            finishIfAbandoned(id)
        }
        return events
    }

    /// Room that is worth a turn: shorter frames would cost more than they carry.
    private static let roomForData = FrameWriter.headerBytes + FrameWriter.restBytes + WireLimits.shortFrameBytes

    private mutating func fillControl(_ record: inout FrameWriter) {
        if let pong = owedPong {
            record.append(.pong, stream: 0, data: pong)
            owedPong = nil
        }
        while let frame = control.first, record.room >= FrameWriter.headerBytes + frame.data.count {
            if frame.type == .reset { owedResets -= 1 }
            record.append(frame.type, stream: frame.stream, data: frame.data)
            _ = control.popFirst()
        }
        while record.room >= FrameWriter.headerBytes + 4, let id = owedCredits.popFirst() {
            guard let owed = streams[id]?.owedCredit else { continue }
            streams[id]?.owedCredit = 0
            streams[id]?.isCreditPending = false
            streams[id]?.receiveCredit += owed
            var data: [UInt8] = []
            data.append(number: UInt32(owed))
            record.append(.credit, stream: id, data: data)
        }
    }

    private func appendFrame(of stream: inout MuxStream, _ id: UInt32, to record: inout FrameWriter) {
        if let unframed = stream.unframed, let message = stream.queue.first {
            let room = record.room - FrameWriter.headerBytes - FrameWriter.restBytes
            let bytes = min(
                unframed, WireLimits.frameDataBytesMax, room, stream.sendCredit - WireLimits.frameCost)
            let end = stream.framed + bytes
            message.withUnsafeBytes {
                record.append(
                    part: UnsafeRawBufferPointer(rebasing: $0[stream.framed..<end]), rest: message.count - end,
                    stream: id)
            }
            let isLast = end == message.count
            stream.framed = isLast ? 0 : end
            stream.queuedBytes -= bytes
            stream.sendCredit -= bytes + WireLimits.frameCost
            if isLast { _ = stream.queue.popFirst() }
        } else if stream.isFinishDue {
            record.append(.finish, stream: id)
            stream.isFinishSent = true
        }
    }

    private mutating func finishIfAbandoned(_ id: UInt32) {
        guard let stream = streams[id], stream.isAbandoned, stream.isFinishSent else { return }
        if !stream.isPeerFinished { enqueueControl(.reset, stream: id) }
        remove(id)
    }
}
