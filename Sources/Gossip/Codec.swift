internal import ClusterModel

/// Datagrams: a header, then records of type (1 byte), length (varint) and body.
///
/// Unknown types are skipped, so that
/// records can be added; the version changes only for the header.
enum Codec {
    static let version: UInt8 = 1
    /// Version, sender's id and boot id.
    static let headerBytes = 17
    /// Type and two bytes of length.
    static let frameBytesMax = 3
    /// Records of one datagram that are looked at; more are dropped with the datagram.
    static let recordsMax = 128
    /// Records that make this node send something each; the rest of the kind is ignored (SWIM has no such bound, a
    /// reflected or hostile datagram would be amplified).
    static let questionsMax = 8

    struct Datagram: Hashable, Sendable {
        var sender: PeerID
        var bootID: UInt64
        var records: [Record]
    }

    static func encodeHeader(sender: PeerID, bootID: UInt64, into writer: inout ByteWriter) {
        writer.append(version)
        writer.append(sender.rawValue)
        writer.append(bootID)
    }

    /// The record with its frame.
    static func encode(_ record: Record) -> [UInt8] {
        var body = ByteWriter(capacity: 128)
        let type = encodeBody(record, into: &body)
        var writer = ByteWriter(capacity: body.bytes.count + frameBytesMax)
        writer.append(type.rawValue)
        writer.appendBlock(body.bytes)
        return writer.bytes
    }

    static func encode(_ datagram: Datagram) -> [UInt8] {
        var writer = ByteWriter(capacity: 512)
        encodeHeader(sender: datagram.sender, bootID: datagram.bootID, into: &writer)
        for record in datagram.records { writer.append(contentsOf: encode(record)) }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8]) throws(CodecError) -> Datagram {
        var reader = ByteReader(bytes)
        guard try reader.read(UInt8.self) == version else { throw .invalid(field: "version") }
        var datagram = Datagram(sender: PeerID(rawValue: try reader.read()), bootID: try reader.read(), records: [])
        var seen = 0
        while reader.remaining > 0 {
            seen += 1
            guard seen <= recordsMax else { throw .outOfRange(field: "records") }
            let type: UInt8 = try reader.read()
            var body = try reader.readNested("record", limit: 65_507)
            guard let known = RecordType(rawValue: type) else { continue }
            datagram.records.append(try decodeBody(of: known, from: &body))
            try body.finish()
        }
        return datagram
    }

    private enum RecordType: UInt8 {
        case ping = 1, ack, indirectProbe, vouch, nack, alive, suspect, dead, left, load, user
    }

    private static func encodeBody(_ record: Record, into writer: inout ByteWriter) -> RecordType {
        switch record {
        case .ping(let subject, let pulse):
            writer.append(subject.rawValue)
            pulse.encode(into: &writer)
            return .ping
        case .ack(let incarnation, let pulse):
            writer.append(incarnation)
            pulse.encode(into: &writer)
            return .ack
        case .indirectProbe(let number, let subject):
            writer.append(number)
            writer.append(subject.rawValue)
            return .indirectProbe
        case .vouch(let number, let bootID, let incarnation):
            writer.append(number)
            writer.append(bootID)
            writer.append(incarnation)
            return .vouch
        case .nack(let number):
            writer.append(number)
            return .nack
        case .alive(let alive):
            alive.encode(into: &writer)
            return .alive
        case .claim(let claim):
            encode(claim, into: &writer)
            switch claim.kind {
            case .suspect: return .suspect
            case .dead: return .dead
            case .left: return .left
            }
        case .load(let id, let bootID, let load):
            writer.append(id.rawValue)
            writer.append(bootID)
            load.encode(into: &writer)
            return .load
        case .user(let user):
            writer.append(user.origin.rawValue)
            writer.append(user.bootID)
            writer.append(user.sequence)
            writer.append(contentsOf: user.bytes)
            return .user
        }
    }

    private static func decodeBody(of type: RecordType, from reader: inout ByteReader) throws(CodecError) -> Record {
        switch type {
        case .ping: return .ping(subject: PeerID(rawValue: try reader.read()), try Pulse(from: &reader))
        case .ack: return .ack(incarnation: try reader.read(), try Pulse(from: &reader))
        case .indirectProbe:
            return .indirectProbe(number: try reader.read(), subject: PeerID(rawValue: try reader.read()))
        case .vouch: return .vouch(number: try reader.read(), bootID: try reader.read(), incarnation: try reader.read())
        case .nack: return .nack(number: try reader.read())
        case .alive: return .alive(try AliveRecord(from: &reader))
        case .suspect: return .claim(try decodeClaim(.suspect, from: &reader))
        case .dead: return .claim(try decodeClaim(.dead, from: &reader))
        case .left: return .claim(try decodeClaim(.left, from: &reader))
        case .load:
            return .load(PeerID(rawValue: try reader.read()), bootID: try reader.read(), try LoadRecord(from: &reader))
        case .user:
            let origin = PeerID(rawValue: try reader.read())
            let bootID: UInt64 = try reader.read()
            let sequence: UInt32 = try reader.read()
            guard reader.remaining > 0, reader.remaining <= Membership.userRecordBytesMax else {
                throw .outOfRange(field: "user record")
            }
            let bytes = try reader.read(count: reader.remaining)
            return .user(UserRecord(origin: origin, bootID: bootID, sequence: sequence, bytes: bytes))
        }
    }

    private static func encode(_ claim: Claim, into writer: inout ByteWriter) {
        writer.append(claim.subject.rawValue)
        writer.append(claim.bootID)
        writer.append(claim.incarnation)
        writer.append(claim.accuser.rawValue)
    }

    private static func decodeClaim(_ kind: Claim.Kind, from reader: inout ByteReader) throws(CodecError) -> Claim {
        Claim(
            kind: kind, subject: PeerID(rawValue: try reader.read()), bootID: try reader.read(),
            incarnation: try reader.read(), accuser: PeerID(rawValue: try reader.read()))
    }
}
