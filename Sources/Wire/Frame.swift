/// What a record of a link holds: frames of type 1, stream 4, length 3, data.
enum FrameType: UInt8 {
    /// Opens a stream; data is its priority (1 byte) and the service's name.
    case open = 1
    /// The last part of a message, or all of it.
    case dataEnd = 2
    /// A part of a message that is not the last; data begins with the number of bytes that follow in later frames (4).
    case data = 3
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

/// Writes frames into memory that a record is made of.
struct FrameWriter {
    static let headerBytes = 8
    /// What a part of a message has before its bytes, unless it is the last.
    static let restBytes = 4

    private let start: UnsafeMutablePointer<UInt8>
    private let capacity: Int
    private(set) var count = 0

    /// Writes from `start` on, at most `capacity` bytes.
    init(_ start: UnsafeMutablePointer<UInt8>, capacity: Int) {
        self.start = start
        self.capacity = capacity
    }

    var room: Int { capacity - count }

    /// Appends a frame; there must be room for it.
    mutating func append(_ type: FrameType, stream: UInt32, data: UnsafeRawBufferPointer) {
        header(type, stream, data.count)
        copy(data)
    }

    mutating func append(_ type: FrameType, stream: UInt32, data: [UInt8] = []) {
        data.withUnsafeBytes { append(type, stream: stream, data: $0) }
    }

    /// Appends a part of a message of which `rest` bytes follow later.
    mutating func append(part data: UnsafeRawBufferPointer, rest: Int, stream: UInt32) {
        guard rest > 0 else { return append(.dataEnd, stream: stream, data: data) }
        header(.data, stream, data.count + Self.restBytes)
        number(UInt32(rest), bytes: 4)
        copy(data)
    }

    private mutating func header(_ type: FrameType, _ stream: UInt32, _ bytes: Int) {
        precondition(Self.headerBytes + bytes <= room, "a frame of \(bytes) bytes with room for \(room)")
        number(UInt32(type.rawValue), bytes: 1)
        number(stream, bytes: 4)
        number(UInt32(bytes), bytes: 3)
    }

    private mutating func number(_ value: UInt32, bytes: Int) {
        for index in 0..<bytes {
            start[count + index] = UInt8(truncatingIfNeeded: value >> UInt32((bytes - 1 - index) * 8))
        }
        count += bytes
    }

    private mutating func copy(_ data: UnsafeRawBufferPointer) {
        guard let source = data.baseAddress, data.count > 0 else { return }
        UnsafeMutableRawPointer(start + count).copyMemory(from: source, byteCount: data.count)
        count += data.count
    }
}

/// Reads the frames of an opened record.
struct FrameReader {
    struct Frame {
        let type: FrameType
        let stream: UInt32
        let data: UnsafeRawBufferPointer
    }

    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The next frame; nil at the end.
    mutating func next() throws(LinkFault) -> Frame? {
        guard position < bytes.count else { return nil }
        guard bytes.count - position >= FrameWriter.headerBytes else { throw .violation("a frame is cut off") }
        let code = bytes[position]
        let stream = Self.number(bytes, at: position + 1, bytes: 4)
        let length = Int(Self.number(bytes, at: position + 5, bytes: 3))
        position += FrameWriter.headerBytes
        guard bytes.count - position >= length else { throw .violation("a frame is cut off") }
        guard let type = FrameType(rawValue: code) else { throw .violation("frame type \(code)") }
        defer { position += length }
        return Frame(
            type: type, stream: stream, data: UnsafeRawBufferPointer(rebasing: bytes[position..<position + length]))
    }

    static func number(_ bytes: UnsafeRawBufferPointer, at offset: Int, bytes count: Int) -> UInt32 {
        var value: UInt32 = 0
        for index in offset..<offset + count { value = value << 8 | UInt32(bytes[index]) }
        return value
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
