internal import ClusterModel

/// The whole member table as one message of a stream: push and pull have the same form.
///
/// Encoding: version, sender's id and boot id, count, then per member its state, alive record, load record and its age
/// in hundredths of a second, holdings, and for the down for how many seconds they have been (u32).
struct StateMessage: Hashable, Sendable {
    /// Below a stream message's 1 MiB; members beyond it are left out, the next exchange starts elsewhere.
    static let bytesMax = 1_000_000
    static let membersMax = MemberTable.membersMax

    struct Entry: Hashable, Sendable {
        var state: Member.State
        var alive: AliveRecord
        var load: LoadRecord
        /// Hundredths of a second, 65,535 for unknown.
        var loadAge: UInt16
        var holdings: Holdings
        /// Seconds since the sender heard that it died or left; 0 for who is up.
        ///
        /// All forget a tombstone at about the same time: one that began anew with each hearer would never end.
        var downAge: UInt32 = 0

        static let ageUnknown = UInt16.max

        var isDown: Bool { state == .dead || state == .left }
        var loadAgeDuration: Duration? { loadAge == Self.ageUnknown ? nil : .milliseconds(Int64(loadAge) * 10) }
    }

    var sender: PeerID
    var bootID: UInt64
    var entries: [Entry]

    init(sender: PeerID, bootID: UInt64, entries: [Entry]) {
        self.sender = sender
        self.bootID = bootID
        self.entries = entries
    }

    func encoded() -> [UInt8] {
        var bodies: [[UInt8]] = []
        var total = 0
        for entry in entries.prefix(Self.membersMax) {
            var body = ByteWriter(capacity: 160)
            body.append(entry.state.rawValue)
            entry.alive.encode(into: &body)
            entry.load.encode(into: &body)
            body.append(entry.loadAge)
            entry.holdings.encode(into: &body)
            if entry.isDown { body.append(entry.downAge) }
            guard total + body.bytes.count + 64 <= Self.bytesMax else { break }
            total += body.bytes.count
            bodies.append(body.bytes)
        }
        var writer = ByteWriter(capacity: total + 64)
        writer.append(Codec.version)
        writer.append(sender.rawValue)
        writer.append(bootID)
        writer.appendVarint(bodies.count)
        for body in bodies { writer.append(contentsOf: body) }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(CodecError) {
        guard bytes.count <= Self.bytesMax else { throw .outOfRange(field: "state") }
        var reader = ByteReader(bytes)
        guard try reader.read(UInt8.self) == Codec.version else { throw .invalid(field: "version") }
        sender = PeerID(rawValue: try reader.read())
        bootID = try reader.read()
        entries = []
        for _ in 0..<(try reader.readVarint("members", limit: Self.membersMax)) {
            guard let state = Member.State(rawValue: try reader.read()) else { throw .invalid(field: "state") }
            let alive = try AliveRecord(from: &reader)
            let load = try LoadRecord(from: &reader)
            let age: UInt16 = try reader.read()
            var entry = Entry(
                state: state, alive: alive, load: load, loadAge: age, holdings: try Holdings(from: &reader))
            if entry.isDown { entry.downAge = try reader.read() }
            entries.append(entry)
        }
        try reader.finish()
    }
}

extension StateMessage.Entry {
    /// `downSince` is when it died or left, nil while it is up.
    init(_ member: Member, downSince: MonotonicInstant? = nil, at now: MonotonicInstant) {
        let hundredths = member.loadAge(at: now).map { min($0.nanoseconds / 10_000_000, Int64(Self.ageUnknown) - 1) }
        self.init(
            state: member.state, alive: AliveRecord(member), load: member.load,
            loadAge: hundredths.map { UInt16(clamping: $0) } ?? Self.ageUnknown, holdings: member.holdings)
        downAge = downSince.map { UInt32(clamping: (now - $0).nanoseconds / 1_000_000_000) } ?? 0
    }
}
