import ClusterModel
import Sodium

@testable import UVLoop
@testable import Wire

/// Drives a machine without sockets and threads.
extension LinkMachine {
    /// The next bytes for the socket: a handshake message or a batch of records; empty when nothing is due.
    mutating func takeOutput() throws -> (bytes: [UInt8], events: [Event]) {
        let message = takeHandshakeOutput()
        if !message.isEmpty { return (message, []) }
        var allowance = Int.max
        let (batch, events) = fill(bulkAllowance: &allowance)
        guard let batch else { return ([], events) }
        batch.seal()
        try sealed(batch)
        return ([UInt8](batch.block.bytes(0..<batch.end)), events)
    }

    /// The next records for the socket, one by one.
    mutating func takeRecords() throws -> [[UInt8]] {
        let bytes = try takeOutput().bytes
        var records: [[UInt8]] = []
        var position = 0
        while position < bytes.count {
            let length = bytes[position..<position + RecordCipher.lengthBytes].reduce(0) { $0 << 8 | Int($1) }
            let end = position + RecordCipher.lengthBytes + length
            records.append(Array(bytes[position..<end]))
            position = end
        }
        return records
    }
}

extension StreamMultiplexer {
    mutating func receive(_ record: [UInt8]) throws -> [Event] {
        try record.withUnsafeBytes { try receive($0) }
    }

    /// What is due, as the text of one record.
    mutating func fill(bulkAllowance: Int = .max) -> [UInt8] {
        var allowance = bulkAllowance
        let block = ByteBlock(capacity: WireLimits.recordTextBytesMax)
        var writer = FrameWriter(block.start, capacity: block.capacity)
        _ = fill(&writer, bulkAllowance: &allowance)
        return [UInt8](block.bytes(0..<writer.count))
    }
}

extension StreamMultiplexer {
    /// All frames that are due, with the length of their data.
    mutating func dueFrames() throws -> [(type: FrameType, stream: UInt32, bytes: Int)] {
        var frames: [(FrameType, UInt32, Int)] = []
        while true {
            let text = fill()
            if text.isEmpty { return frames }
            try text.withUnsafeBytes { bytes in
                var reader = FrameReader(bytes)
                while let frame = try reader.next() { frames.append((frame.type, frame.stream, frame.data.count)) }
            }
        }
    }
}

/// The text of a record that a test makes by hand.
struct RecordText {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ type: FrameType, stream: UInt32, data: [UInt8] = []) {
        append(code: type.rawValue, stream: stream, length: data.count, data: data)
    }

    mutating func append(code: UInt8, stream: UInt32, length: Int, data: [UInt8]) {
        bytes.append(code)
        bytes.append(number: stream)
        bytes += [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255)] + data
    }

    static func of(_ type: FrameType, stream: UInt32, data: [UInt8] = []) -> [UInt8] {
        var text = RecordText()
        text.append(type, stream: stream, data: data)
        return text.bytes
    }

    static func open(_ stream: UInt32, _ service: String = "x", priority: UInt8 = 0) -> [UInt8] {
        of(.open, stream: stream, data: [priority] + Array(service.utf8))
    }
}

/// Two machines that know nothing of each other yet.
func machines(
    keys: ClusterKeyRing? = nil, _ change: (Handshake.Role, inout PeerLinkConfiguration) throws -> Void = { _, _ in }
) throws -> (dialer: LinkMachine, listener: LinkMachine) {
    let keys = try keys ?? ClusterKeyRing(primary: .generate())
    func make(_ role: Handshake.Role) throws -> LinkMachine {
        var configuration = PeerLinkConfiguration(
            bind: PeerAddress(host: "127.0.0.1", port: 0), identity: try .generate(), bootID: 7, keys: keys)
        try change(role, &configuration)
        return try LinkMachine(role: role, configuration: configuration)
    }
    return (try make(.dialer), try make(.listener))
}

/// Hands over everything that both sides have to say; returns what the listener saw.
func exchange(_ dialer: inout LinkMachine, _ listener: inout LinkMachine) throws -> [LinkMachine.Event] {
    var seen: [LinkMachine.Event] = []
    while true {
        let there = try dialer.takeOutput().bytes
        let back = try listener.takeOutput().bytes
        if there.isEmpty, back.isEmpty { return seen }
        seen += try listener.receive(there)
        _ = try dialer.receive(back)
    }
}

extension StreamMultiplexer {
    /// A listener's end with streams of the peer open.
    static func opened(_ ids: UInt32...) throws -> StreamMultiplexer {
        var streams = StreamMultiplexer(isDialer: false)
        for id in ids { _ = try streams.receive(RecordText.open(id)) }
        return streams
    }
}

/// The text of a record with one whole message of so many bytes.
func messageText(_ count: Int, on id: UInt32 = 1) -> [UInt8] {
    RecordText.of(.dataEnd, stream: id, data: [UInt8](repeating: 1, count: count))
}
