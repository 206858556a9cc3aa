internal import ClusterModel

/// A member's own word: what it is, under which boot and incarnation.
struct AliveRecord: Hashable, Sendable {
    var id: PeerID
    var bootID: UInt64
    var incarnation: UInt32
    var metadata: MemberMetadata

    func encode(into writer: inout ByteWriter) {
        writer.append(id.rawValue)
        writer.append(bootID)
        writer.append(incarnation)
        metadata.encode(into: &writer)
    }

    init(id: PeerID, bootID: UInt64, incarnation: UInt32, metadata: MemberMetadata) {
        self.id = id
        self.bootID = bootID
        self.incarnation = incarnation
        self.metadata = metadata
    }

    init(_ member: Member) {
        self.init(id: member.id, bootID: member.bootID, incarnation: member.incarnation, metadata: member.metadata)
    }

    /// The same without metadata, for those who know it.
    var refutation: Record { .refute(id, bootID: bootID, incarnation: incarnation) }

    init(from reader: inout ByteReader) throws(CodecError) {
        id = PeerID(rawValue: try reader.read())
        bootID = try reader.read()
        incarnation = try reader.read()
        metadata = try MemberMetadata(from: &reader)
    }
}

/// Somebody's word about a member, for all to hear; for `left` the accuser is the member itself.
struct Claim: Hashable, Sendable {
    enum Kind: Hashable, Sendable { case suspect, dead, left }

    var kind: Kind
    var subject: PeerID
    var bootID: UInt64
    var incarnation: UInt32
    var accuser: PeerID
    var evidence = Suspicion.Evidence.silence
    /// How many had failed to reach the subject when this was written.
    var accusers: UInt8 = 1

    static let byteCount = 30
}

extension Claim {
    init(_ kind: Kind, _ member: Member, by accuser: PeerID) {
        self.init(
            kind: kind, subject: member.id, bootID: member.bootID, incarnation: member.incarnation, accuser: accuser)
    }
}

/// A failed probe, told to a few only.
struct Accusation: Hashable, Sendable {
    var subject: PeerID
    var bootID: UInt64
    var incarnation: UInt32
    var evidence: Suspicion.Evidence
}

extension Accusation {
    init(_ member: Member, evidence: Suspicion.Evidence) {
        self.init(
            subject: member.id, bootID: member.bootID, incarnation: member.incarnation, evidence: evidence)
    }
}

/// An opaque record of the layer above, named by its origin, boot and number.
struct UserRecord: Hashable, Sendable {
    var origin: PeerID
    var bootID: UInt64
    var sequence: UInt32
    var bytes: [UInt8]
    /// Worth a datagram of its own; else it waits for its like at every hop.
    var isUrgent = true
}

/// What a probe and its answer share: a look at the sender's table and its load.
struct Pulse: Hashable, Sendable {
    /// Random; the ack repeats it, so that an old or forged ack matches nothing.
    var number: UInt32
    /// XOR over the members that are up; see `MemberTable.stateHash`.
    var stateHash: UInt64
    /// Members that the sender knows as up, itself included.
    var upCount: UInt16
    /// Root over the cache maps that the sender knows.
    var mapRoot: UInt32
    var load: LoadRecord

    static let byteCount = 18 + LoadRecord.byteCount

    func encode(into writer: inout ByteWriter) {
        writer.append(number)
        writer.append(stateHash)
        writer.append(upCount)
        writer.append(mapRoot)
        load.encode(into: &writer)
    }

    init(number: UInt32, stateHash: UInt64, upCount: UInt16, mapRoot: UInt32, load: LoadRecord) {
        self.number = number
        self.stateHash = stateHash
        self.upCount = upCount
        self.mapRoot = mapRoot
        self.load = load
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        number = try reader.read()
        stateHash = try reader.read()
        upCount = try reader.read()
        mapRoot = try reader.read()
        load = try LoadRecord(from: &reader)
    }
}

/// What one node knows of a member, in short.
struct Standing: Hashable, Sendable {
    var id: PeerID
    var bootID: UInt64
    var incarnation: UInt32
    var state: Member.State

    static let byteCount = 21
}

/// One record of a datagram.
enum Record: Hashable, Sendable {
    /// Whether it makes the receiver send something of its own.
    var isQuestion: Bool {
        switch self {
        case .ping, .indirectProbe, .accuse, .buckets, .want: true
        default: false
        }
    }

    /// Told as often as news of members is.
    var isHurried: Bool {
        if case .user(let user) = self { user.isUrgent } else { true }
    }

    /// Never held back: a refutation too late is a death.
    var isUrgent: Bool {
        switch self {
        case .refute, .claim: true
        default: false
        }
    }

    /// Answer with an ack to the source address.
    case ping(Pulse)
    /// `seenAt`: where the ping came from, when that is none of the addresses that its sender advertises.
    case ack(incarnation: UInt32, Pulse, seenAt: PeerAddress?)
    /// An ack without a pulse, for an address that its sender does not advertise and that may be a victim's: no longer
    /// than any ping.
    case echo(number: UInt32, incarnation: UInt32, seenAt: PeerAddress?)
    /// Probe `subject` for me; answer with vouch or nack under `number`.
    case indirectProbe(number: UInt32, subject: PeerID)
    /// The subject answered the relay under this boot and incarnation.
    case vouch(number: UInt32, bootID: UInt64, incarnation: UInt32)
    /// The subject did not answer the relay; but the relay lives.
    case nack(number: UInt32)
    /// Probe the subject and say `confirm` or `clear`.
    case accuse(Accusation)
    /// I do not reach the subject either.
    case confirm(Accusation)
    /// The subject answered me, under this boot and incarnation.
    case clear(subject: PeerID, bootID: UInt64, incarnation: UInt32)
    case alive(AliveRecord)
    /// The subject is alive under a higher incarnation; its metadata is what it was.
    case refute(PeerID, bootID: UInt64, incarnation: UInt32)
    case claim(Claim)
    /// Another's load, and how old it was when it left here.
    case load(PeerID, bootID: UInt64, LoadRecord, age: Duration)
    case user(UserRecord)
    /// The sender's own.
    case holdings(Holdings)
    /// Hashes over shares of the sender's table: a look for the difference of two tables.
    case buckets([UInt32])
    /// All that the sender knows in one of `of` buckets.
    case bucket(index: UInt16, of: UInt16, [Standing])
    /// Send the alive records of these.
    case want([PeerID])
    /// For the receiver alone.
    case direct([UInt8])
}
