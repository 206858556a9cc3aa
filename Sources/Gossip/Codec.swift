internal import ClusterModel

/// Datagrams: records of type (1 byte), length (varint) and body.
///
/// Who sent them and under which boot says the seal around them, which also has the version of all this. Unknown types
/// are skipped, so that records can be added.
enum Codec {
    /// Of state messages.
    static let version: UInt8 = 1
    /// Type and two bytes of length.
    static let frameBytesMax = 3
    /// A ping with its frame.
    static let pingBytes = 32
    /// A vouch with its frame.
    static let vouchBytes = 18
    /// Records of one datagram that are looked at; more are dropped with the datagram.
    static let recordsMax = 128
    /// Records that make this node send something each; the rest of the kind is ignored (SWIM has no such bound, a
    /// reflected or hostile datagram would be amplified).
    static let questionsMax = 8
    /// The same from an address that its sender does not advertise: each answer is a datagram with a header and a seal.
    static let questionsFromElsewhereMax = 1
    /// Ages are sent in hundredths of a second; 655 s and more look alike.
    private static let ageUnitNanoseconds: Int64 = 10_000_000

    /// The record with its frame.
    static func encode(_ record: Record) -> [UInt8] {
        var body = ByteWriter(capacity: 128)
        let type = encodeBody(record, into: &body)
        var writer = ByteWriter(capacity: body.bytes.count + frameBytesMax)
        writer.append(type.rawValue)
        writer.appendBlock(body.bytes)
        return writer.bytes
    }

    static func encode(_ records: [Record]) -> [UInt8] { records.flatMap { encode($0) } }

    static func decode(_ bytes: [UInt8]) throws(CodecError) -> [Record] {
        var reader = ByteReader(bytes)
        var records: [Record] = []
        var seen = 0
        while reader.remaining > 0 {
            seen += 1
            guard seen <= recordsMax else { throw .outOfRange(field: "records") }
            let type: UInt8 = try reader.read()
            var body = try reader.readNested("record", limit: 65_507)
            guard let known = RecordType(rawValue: type) else { continue }
            records.append(try decodeBody(of: known, from: &body))
            try body.finish()
        }
        return records
    }

    private enum RecordType: UInt8 {
        case ping = 1, ack, indirectProbe, vouch, nack, alive, suspect, dead, left, load, user, holdings, direct,
            accuse,
            confirm, clear, refute, buckets, bucket, want, unhurriedUser, echo
    }

    private static func encodeBody(_ record: Record, into writer: inout ByteWriter) -> RecordType {
        switch record {
        case .ping(let pulse):
            pulse.encode(into: &writer)
            return .ping
        case .ack(let incarnation, let pulse, let seenAt):
            writer.append(incarnation)
            pulse.encode(into: &writer)
            if let seenAt { writer.append(seenAt) }
            return .ack
        case .echo(let number, let incarnation, let seenAt):
            return encodeEcho(number, incarnation, seenAt, into: &writer)
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
            return type(of: claim.kind)
        case .accuse(let accusation):
            encode(accusation, into: &writer)
            return .accuse
        case .confirm(let accusation):
            encode(accusation, into: &writer)
            return .confirm
        case .clear(let subject, let bootID, let incarnation):
            encode(subject, bootID, incarnation, into: &writer)
            return .clear
        case .refute(let id, let bootID, let incarnation):
            encode(id, bootID, incarnation, into: &writer)
            return .refute
        case .buckets(let hashes):
            for hash in hashes { writer.append(hash) }
            return .buckets
        case .bucket(let index, let count, let standings):
            writer.append(index)
            writer.append(count)
            for standing in standings { encode(standing, into: &writer) }
            return .bucket
        case .want(let ids):
            ids.forEach { writer.append($0.rawValue) }
            return .want
        case .load(let id, let bootID, let load, let age):
            writer.append(id.rawValue)
            writer.append(bootID)
            writer.append(UInt16(clamping: age.nanoseconds / ageUnitNanoseconds))
            load.encode(into: &writer)
            return .load
        case .user(let user):
            encode(user, into: &writer)
            return user.isUrgent ? .user : .unhurriedUser
        case .holdings(let holdings):
            holdings.encode(into: &writer)
            return .holdings
        case .direct(let bytes):
            writer.append(contentsOf: bytes)
            return .direct
        }
    }

    private static func decodeBody(of type: RecordType, from reader: inout ByteReader) throws(CodecError) -> Record {
        switch type {
        case .ping: return .ping(try Pulse(from: &reader))
        case .ack: return try decodeAck(from: &reader)
        case .echo:
            return .echo(
                number: try reader.read(), incarnation: try reader.read(), seenAt: try decodeSeenAt(from: &reader))
        case .indirectProbe:
            return .indirectProbe(number: try reader.read(), subject: PeerID(rawValue: try reader.read()))
        case .vouch: return .vouch(number: try reader.read(), bootID: try reader.read(), incarnation: try reader.read())
        case .nack: return .nack(number: try reader.read())
        case .alive: return .alive(try AliveRecord(from: &reader))
        case .accuse: return .accuse(try decodeAccusation(from: &reader))
        case .confirm: return .confirm(try decodeAccusation(from: &reader))
        case .clear:
            return .clear(
                subject: PeerID(rawValue: try reader.read()), bootID: try reader.read(), incarnation: try reader.read())
        case .refute:
            return .refute(
                PeerID(rawValue: try reader.read()), bootID: try reader.read(), incarnation: try reader.read())
        case .buckets:
            var hashes: [UInt32] = []
            while reader.remaining > 0 { hashes.append(try reader.read()) }
            return .buckets(hashes)
        case .bucket:
            let index: UInt16 = try reader.read()
            let count: UInt16 = try reader.read()
            guard index < count, count <= Buckets.countMax else { throw .outOfRange(field: "bucket") }
            var standings: [Standing] = []
            while reader.remaining > 0 {
                let id = PeerID(rawValue: try reader.read())
                let bootID: UInt64 = try reader.read()
                let incarnation: UInt32 = try reader.read()
                guard let state = Member.State(rawValue: try reader.read()) else { throw .invalid(field: "state") }
                standings.append(Standing(id: id, bootID: bootID, incarnation: incarnation, state: state))
            }
            return .bucket(index: index, of: count, standings)
        case .want:
            var ids: [PeerID] = []
            while reader.remaining > 0 { ids.append(PeerID(rawValue: try reader.read())) }
            return .want(ids)
        case .suspect: return .claim(try decodeClaim(.suspect, from: &reader))
        case .dead: return .claim(try decodeClaim(.dead, from: &reader))
        case .left: return .claim(try decodeClaim(.left, from: &reader))
        case .load:
            let id = PeerID(rawValue: try reader.read())
            let bootID: UInt64 = try reader.read()
            let age: UInt16 = try reader.read()
            return .load(
                id, bootID: bootID, try LoadRecord(from: &reader), age: .nanoseconds(Int64(age) * ageUnitNanoseconds))
        case .user, .unhurriedUser:
            let origin = PeerID(rawValue: try reader.read())
            let bootID: UInt64 = try reader.read()
            let sequence: UInt32 = try reader.read()
            guard reader.remaining > 0, reader.remaining <= Membership.userRecordBytesMax else {
                throw .outOfRange(field: "user record")
            }
            let bytes = try reader.read(count: reader.remaining)
            return .user(
                UserRecord(
                    origin: origin, bootID: bootID, sequence: sequence, bytes: bytes, isUrgent: type == .user))
        case .holdings: return .holdings(try Holdings(from: &reader))
        case .direct:
            guard reader.remaining > 0, reader.remaining <= Membership.directRecordBytesMax else {
                throw .outOfRange(field: "direct record")
            }
            return .direct(try reader.read(count: reader.remaining))
        }
    }

    private static func encodeEcho(
        _ number: UInt32, _ incarnation: UInt32, _ seenAt: PeerAddress?, into writer: inout ByteWriter
    ) -> RecordType {
        writer.append(number)
        writer.append(incarnation)
        if let seenAt { writer.append(seenAt) }
        return .echo
    }

    private static func decodeAck(from reader: inout ByteReader) throws(CodecError) -> Record {
        let incarnation: UInt32 = try reader.read()
        let pulse = try Pulse(from: &reader)
        return .ack(incarnation: incarnation, pulse, seenAt: try decodeSeenAt(from: &reader))
    }

    private static func decodeSeenAt(from reader: inout ByteReader) throws(CodecError) -> PeerAddress? {
        reader.remaining > 0 ? try reader.readAddress() : nil
    }

    private static func type(of kind: Claim.Kind) -> RecordType {
        switch kind {
        case .suspect: .suspect
        case .dead: .dead
        case .left: .left
        }
    }

    private static func encode(
        _ id: PeerID, _ bootID: UInt64, _ incarnation: UInt32, into writer: inout ByteWriter
    ) {
        writer.append(id.rawValue)
        writer.append(bootID)
        writer.append(incarnation)
    }

    private static func encode(_ standing: Standing, into writer: inout ByteWriter) {
        encode(standing.id, standing.bootID, standing.incarnation, into: &writer)
        writer.append(standing.state.rawValue)
    }

    private static func encode(_ user: UserRecord, into writer: inout ByteWriter) {
        writer.append(user.origin.rawValue)
        writer.append(user.bootID)
        writer.append(user.sequence)
        writer.append(contentsOf: user.bytes)
    }

    private static func encode(_ claim: Claim, into writer: inout ByteWriter) {
        writer.append(claim.subject.rawValue)
        writer.append(claim.bootID)
        writer.append(claim.incarnation)
        writer.append(claim.accuser.rawValue)
        writer.append(claim.evidence.rawValue)
        writer.append(claim.accusers)
    }

    private static func encode(_ accusation: Accusation, into writer: inout ByteWriter) {
        writer.append(accusation.subject.rawValue)
        writer.append(accusation.bootID)
        writer.append(accusation.incarnation)
        writer.append(accusation.evidence.rawValue)
    }

    private static func decodeAccusation(from reader: inout ByteReader) throws(CodecError) -> Accusation {
        Accusation(
            subject: PeerID(rawValue: try reader.read()), bootID: try reader.read(), incarnation: try reader.read(),
            evidence: try decodeEvidence(from: &reader))
    }

    private static func decodeEvidence(from reader: inout ByteReader) throws(CodecError) -> Suspicion.Evidence {
        guard let evidence = Suspicion.Evidence(rawValue: try reader.read()) else { throw .invalid(field: "evidence") }
        return evidence
    }

    private static func decodeClaim(_ kind: Claim.Kind, from reader: inout ByteReader) throws(CodecError) -> Claim {
        Claim(
            kind: kind, subject: PeerID(rawValue: try reader.read()), bootID: try reader.read(),
            incarnation: try reader.read(), accuser: PeerID(rawValue: try reader.read()),
            evidence: try decodeEvidence(from: &reader), accusers: try reader.read())
    }
}
