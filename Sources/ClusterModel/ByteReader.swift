/// Why a message of the peer plane could not be read.
package enum CodecError: Error, Hashable, Sendable {
    /// The message ends inside a field.
    case truncated
    /// The message goes on behind its last field.
    case trailingBytes
    /// A length, count or number is beyond what the field allows.
    case outOfRange(field: String)
    /// A field has a value that no sender writes.
    case invalid(field: String)
}

/// Takes a message of the peer plane apart; every read checks its bounds, nothing is allocated by a length alone.
package struct ByteReader: Sendable {
    /// Longest host of an address, in bytes: an IPv6 address in text form with a zone.
    package static let hostBytesMax = 63

    private let bytes: [UInt8]
    private var position: Int
    private let end: Int

    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
        position = 0
        end = bytes.count
    }

    private init(_ bytes: [UInt8], from position: Int, to end: Int) {
        self.bytes = bytes
        self.position = position
        self.end = end
    }

    package var remaining: Int { end - position }

    // One function a width, not a generic one: unspecialized arithmetic costs more than all else of a datagram.

    package mutating func read(_ type: UInt8.Type = UInt8.self) throws(CodecError) -> UInt8 {
        guard remaining >= 1 else { throw .truncated }
        defer { position += 1 }
        return bytes[position]
    }

    package mutating func read(_ type: UInt16.Type = UInt16.self) throws(CodecError) -> UInt16 {
        guard remaining >= 2 else { throw .truncated }
        defer { position += 2 }
        return UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])
    }

    package mutating func read(_ type: UInt32.Type = UInt32.self) throws(CodecError) -> UInt32 {
        UInt32(truncatingIfNeeded: try readWord(width: 4))
    }

    package mutating func read(_ type: UInt64.Type = UInt64.self) throws(CodecError) -> UInt64 {
        try readWord(width: 8)
    }

    private mutating func readWord(width: Int) throws(CodecError) -> UInt64 {
        guard remaining >= width else { throw .truncated }
        var value: UInt64 = 0
        for index in position..<position + width { value = value << 8 | UInt64(bytes[index]) }
        position += width
        return value
    }

    package mutating func read(count: Int) throws(CodecError) -> [UInt8] {
        guard count >= 0, remaining >= count else { throw .truncated }
        defer { position += count }
        return [UInt8](bytes[position..<position + count])
    }

    /// A LEB128 number of at most `limit`, in its shortest form.
    package mutating func readVarint(_ field: String, limit: Int) throws(CodecError) -> Int {
        var value = 0
        var shift = 0
        while true {
            let byte: UInt8 = try read()
            guard shift <= 28 else { throw .outOfRange(field: field) }
            value |= Int(byte & 0x7F) << shift
            guard byte & 0x80 != 0 else {
                guard byte != 0 || shift == 0 else { throw .invalid(field: field) }
                break
            }
            shift += 7
        }
        guard value <= limit else { throw .outOfRange(field: field) }
        return value
    }

    /// A block with its length in front, of at most `limit` bytes.
    package mutating func readBlock(_ field: String, limit: Int) throws(CodecError) -> [UInt8] {
        try read(count: readVarint(field, limit: limit))
    }

    /// A reader of the next block alone; this one goes on behind it.
    package mutating func readNested(_ field: String, limit: Int) throws(CodecError) -> ByteReader {
        let count = try readVarint(field, limit: limit)
        guard remaining >= count else { throw .truncated }
        defer { position += count }
        return ByteReader(bytes, from: position, to: position + count)
    }

    /// UTF-8 text of at most `limit` bytes without control characters.
    package mutating func readText(_ field: String, limit: Int) throws(CodecError) -> String {
        let block = try readBlock(field, limit: limit)
        guard !block.contains(where: { $0 < 0x20 || $0 == 0x7F }), let text = String(validating: block, as: UTF8.self)
        else { throw .invalid(field: field) }
        return text
    }

    package mutating func readAddress() throws(CodecError) -> PeerAddress {
        let host = try readText("host", limit: Self.hostBytesMax)
        guard !host.isEmpty, host.utf8.allSatisfy(Self.isHostByte) else { throw .invalid(field: "host") }
        return PeerAddress(host: host, port: try read())
    }

    /// Fails unless everything has been read.
    package func finish() throws(CodecError) {
        guard remaining == 0 else { throw .trailingBytes }
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "%"),
            UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
