/// A DNS name: labels of bytes, compared without regard to ASCII case (RFC 1035, RFC 4343).
package struct DNSName: Hashable, Sendable {
    static let labelBytesMax = 63
    static let bytesMax = 255

    /// In lower case.
    package let labels: [[UInt8]]

    package init(_ labels: [String]) { self.init(labels: labels.map { Array($0.utf8) }) }

    init(labels: [[UInt8]]) {
        self.labels = labels.map { label in
            label.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
        }
    }
}

/// What is used of a DNS message by service discovery: PTR, SRV, TXT and addresses (RFC 1035, RFC 2782, RFC 3596).
package struct DNSMessage: Hashable, Sendable {
    /// Longest message of multicast DNS (RFC 6762, section 17).
    package static let bytesMax = 9_000
    /// Questions and records that are looked at; a message with more is no seed's.
    static let entriesMax = 128

    package enum Fault: Error, Hashable, Sendable {
        case truncated
        case tooLong
        case tooManyEntries
        case badName
        case badRecord
    }

    enum Kind: UInt16 {
        case a = 1, ptr = 12, txt = 16, aaaa = 28, srv = 33
    }

    /// Internet; the top bit means "flush what you knew" in records.
    private static let internetClass: UInt16 = 1
    private static let flushBit: UInt16 = 0x8000

    package struct Question: Hashable, Sendable {
        package var name: DNSName
        var kind: UInt16
    }

    package struct Record: Hashable, Sendable {
        package enum Content: Hashable, Sendable {
            case pointer(DNSName)
            case service(target: DNSName, port: UInt16)
            /// 4 or 16 bytes.
            case address([UInt8])
            /// Character strings, whole.
            case text([UInt8])
            /// Of a kind or class that nobody here asks for.
            case other
        }

        package var name: DNSName
        /// In seconds; 0 takes the record back.
        package var lifetime: UInt32
        package var content: Content
        /// Whether it stands for all records of its name and kind.
        package var isUnique = false
    }

    package var isResponse: Bool
    package var questions: [Question] = []
    /// Of all three sections.
    package var records: [Record] = []

    package init(isResponse: Bool) { self.isResponse = isResponse }

    // MARK: Decoding

    package init(decoding bytes: [UInt8]) throws(Fault) {
        guard bytes.count <= Self.bytesMax else { throw .tooLong }
        var reader = Reader(bytes: bytes)
        _ = try reader.number16()
        let flags = try reader.number16()
        isResponse = flags & 0x8000 != 0
        let questionCount = Int(try reader.number16())
        var recordCount = 0
        for _ in 0..<3 { recordCount += Int(try reader.number16()) }
        guard questionCount + recordCount <= Self.entriesMax else { throw .tooManyEntries }
        for _ in 0..<questionCount {
            let name = try reader.name()
            let kind = try reader.number16()
            _ = try reader.number16()
            questions.append(Question(name: name, kind: kind))
        }
        for _ in 0..<recordCount { records.append(try reader.record()) }
    }

    private struct Reader {
        let bytes: [UInt8]
        var position = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        mutating func number8() throws(Fault) -> UInt8 {
            guard position < bytes.count else { throw .truncated }
            defer { position += 1 }
            return bytes[position]
        }

        mutating func number16() throws(Fault) -> UInt16 { UInt16(try number8()) << 8 | UInt16(try number8()) }
        mutating func number32() throws(Fault) -> UInt32 { UInt32(try number16()) << 16 | UInt32(try number16()) }

        mutating func take(_ count: Int) throws(Fault) -> [UInt8] {
            guard bytes.count - position >= count else { throw .truncated }
            defer { position += count }
            return Array(bytes[position..<position + count])
        }

        /// Labels, and pointers to earlier ones: each must lead further back, so that it ends (RFC 1035, 4.1.4).
        mutating func name() throws(Fault) -> DNSName {
            var labels: [[UInt8]] = []
            var length = 1
            var returnsTo: Int?
            var limit = position
            while true {
                let head = try number8()
                switch head & 0xC0 {
                case 0:
                    guard head > 0 else {
                        position = returnsTo ?? position
                        return DNSName(labels: labels)
                    }
                    length += Int(head) + 1
                    guard length <= DNSName.bytesMax else { throw .badName }
                    labels.append(try take(Int(head)))
                case 0xC0:
                    let target = Int(head & 0x3F) << 8 | Int(try number8())
                    guard target < limit else { throw .badName }
                    returnsTo = returnsTo ?? position
                    limit = target
                    position = target
                default: throw .badName
                }
            }
        }

        mutating func record() throws(Fault) -> Record {
            let name = try name()
            let kind = Kind(rawValue: try number16())
            let group = try number16()
            let lifetime = try number32()
            let length = Int(try number16())
            let end = position + length
            guard end <= bytes.count else { throw .truncated }
            var content = Record.Content.other
            if group & ~DNSMessage.flushBit == DNSMessage.internetClass, let kind {
                content = try self.content(kind, length)
                guard position == end else { throw .badRecord }
            }
            position = end
            return Record(
                name: name, lifetime: lifetime, content: content, isUnique: group & DNSMessage.flushBit != 0)
        }

        private mutating func content(_ kind: Kind, _ length: Int) throws(Fault) -> Record.Content {
            switch kind {
            case .a, .aaaa:
                guard length == (kind == .a ? 4 : 16) else { throw .badRecord }
                return .address(try take(length))
            case .ptr: return .pointer(try name())
            case .srv:
                _ = try number32()
                let port = try number16()
                return .service(target: try name(), port: port)
            case .txt: return .text(try take(length))
            }
        }
    }

    // MARK: Encoding

    /// The message; names are written in full, as ours are few and short.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        func put(_ value: UInt16) { bytes += [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }
        func put(_ name: DNSName) {
            for label in name.labels { bytes += [UInt8(label.count)] + label }
            bytes.append(0)
        }
        put(0)
        // A response of multicast DNS is authoritative.
        put(isResponse ? 0x8400 : 0)
        put(UInt16(questions.count))
        put(UInt16(records.count))
        put(0)
        put(0)
        for question in questions {
            put(question.name)
            put(question.kind)
            put(Self.internetClass)
        }
        for record in records {
            put(record.name)
            put(record.content.kind)
            put(Self.internetClass | (record.isUnique ? Self.flushBit : 0))
            put(UInt16(record.lifetime >> 16))
            put(UInt16(truncatingIfNeeded: record.lifetime))
            let lengthAt = bytes.count
            put(0)
            switch record.content {
            case .pointer(let name): put(name)
            case .service(let target, let port):
                put(0)
                put(0)
                put(port)
                put(target)
            case .address(let address): bytes += address
            case .text(let text): bytes += text
            case .other: break
            }
            let length = bytes.count - lengthAt - 2
            bytes[lengthAt] = UInt8(length >> 8)
            bytes[lengthAt + 1] = UInt8(truncatingIfNeeded: length)
        }
        return bytes
    }
}

extension DNSMessage.Record.Content {
    fileprivate var kind: UInt16 {
        switch self {
        case .pointer: DNSMessage.Kind.ptr.rawValue
        case .service: DNSMessage.Kind.srv.rawValue
        case .address(let bytes): bytes.count == 4 ? DNSMessage.Kind.a.rawValue : DNSMessage.Kind.aaaa.rawValue
        case .text: DNSMessage.Kind.txt.rawValue
        case .other: 0
        }
    }
}
