/// What a record of a link holds: frames of type 1, stream 4, length 2, data.
enum FrameType: UInt8 {
    /// Opens a stream; data is the service's name.
    case open = 1
    /// Part of a message.
    case data = 2
    /// The last part of a message.
    case dataEnd = 3
    /// No more messages from this side.
    case finish = 4
    /// The stream is over, both ways.
    case reset = 5
    /// 4 bytes: that much more may be sent.
    case credit = 6
    /// 8 bytes that come back in a pong. Stream 0.
    case ping = 7
    case pong = 8
    /// This side opens no more streams and would like the link to close. Stream 0.
    case goAway = 9
}

enum FrameCodec {
    static let headerBytes = 7

    static func append(_ type: FrameType, stream: UInt32, data: ArraySlice<UInt8> = [], to record: inout [UInt8]) {
        record.append(type.rawValue)
        record.append(number: stream)
        record.append(number: UInt16(data.count))
        record += data
    }
}

/// Why a link has to be closed.
enum LinkFault: Error, Hashable, CustomStringConvertible {
    /// A record that is not the next one of this link.
    case damaged
    /// The peer breaks the protocol.
    case violation(String)

    var description: String {
        switch self {
        case .damaged: "a record was damaged, repeated or left out"
        case .violation(let what): "the peer broke the protocol: \(what)"
        }
    }
}
