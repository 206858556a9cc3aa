import ClusterModel
import Testing

@testable import Gossip

struct CodecTests {
    static let metadata = MemberMetadata(
        name: "builder-1", address: PeerAddress(host: "fd00::12", port: 7_946),
        platforms: ["linux/amd64", "linux/arm64/v8"],
        labels: ["zone": "a", "disk": "ssd"], version: "0.1.0", slots: 8)

    static var load: LoadRecord {
        var load = LoadRecord()
        load.sequence = 9
        load.slots = 8
        load.running = 3
        load.queued = 1
        load.cpuBusy = 200
        load.memoryFree = 3 << 32
        load.diskFree = 5 << 40
        load.flags = .draining
        load.platform = 1
        load.keySet = 0xBEEF
        return load
    }

    static var pulse: Pulse { Pulse(number: 1, stateHash: 2, upCount: 64, mapRoot: 7, load: load) }

    static var holdings: Holdings {
        var holdings = Holdings()
        holdings.cacheKeys = 70_000
        holdings.cacheBytes = 1 << 40
        holdings.mapEpoch = 77
        holdings.mapSequence = 12
        return holdings
    }

    static let records: [Record] = [
        .ping(pulse),
        .ack(incarnation: 3, pulse, seenAt: nil),
        .ack(incarnation: 3, pulse, seenAt: PeerAddress(host: "10.9.8.7", port: 7_946)),
        .echo(number: 5, incarnation: 3, seenAt: nil),
        .echo(number: 5, incarnation: 3, seenAt: PeerAddress(host: "10.9.8.7", port: 7_946)),
        .indirectProbe(number: 4, subject: PeerID(rawValue: 6)),
        .vouch(number: 4, bootID: 5, incarnation: 6),
        .nack(number: 7),
        .alive(AliveRecord(id: PeerID(rawValue: 1), bootID: 2, incarnation: 3, metadata: metadata)),
        .claim(
            Claim(kind: .suspect, subject: PeerID(rawValue: 1), bootID: 2, incarnation: 3, accuser: PeerID(rawValue: 4))
        ),
        .claim(
            Claim(kind: .dead, subject: PeerID(rawValue: 1), bootID: 2, incarnation: 3, accuser: PeerID(rawValue: 4))),
        .claim(
            Claim(kind: .left, subject: PeerID(rawValue: 1), bootID: 2, incarnation: 3, accuser: PeerID(rawValue: 1))),
        .load(PeerID(rawValue: 8), bootID: 9, load, age: .milliseconds(1_230)),
        .accuse(Accusation(subject: PeerID(rawValue: 4), bootID: 5, incarnation: 6, evidence: .accepted)),
        .confirm(Accusation(subject: PeerID(rawValue: 4), bootID: 5, incarnation: 6, evidence: .refused)),
        .clear(subject: PeerID(rawValue: 4), bootID: 5, incarnation: 6),
        .refute(PeerID(rawValue: 4), bootID: 5, incarnation: 6),
        .holdings(holdings),
        .direct([9, 8, 7]),
        .user(UserRecord(origin: PeerID(rawValue: 1), bootID: 2, sequence: 3, bytes: [1, 2, 3])),
        .user(UserRecord(origin: PeerID(rawValue: 1), bootID: 2, sequence: 3, bytes: [1, 2, 3], isUrgent: false)),
    ]

    static let state = StateMessage(
        sender: PeerID(rawValue: 1), bootID: 2,
        entries: [Member.State.alive, .suspect, .dead, .left].enumerated().map {
            StateMessage.Entry(
                state: $1,
                alive: AliveRecord(id: PeerID(rawValue: UInt64($0)), bootID: 1, incarnation: 2, metadata: metadata),
                load: load, loadAge: 250, holdings: holdings, downAge: $1 == .dead || $1 == .left ? 70_000 : 0)
        })

    @Test(arguments: records)
    func `a record survives its encoding`(record: Record) throws {
        #expect(try Codec.decode(Codec.encode([record])) == [record])
    }

    @Test(arguments: records)
    func `a truncated record is an error`(record: Record) {
        let bytes = Codec.encode([record])
        for count in 1..<bytes.count {
            #expect(throws: CodecError.self, "\(count) of \(bytes.count) bytes") {
                try Codec.decode([UInt8](bytes.prefix(count)))
            }
        }
    }

    @Test func `flipped bits give an error or another value, never a trap`() {
        let bytes = Codec.encode(Self.records)
        var decoded = 0
        for bit in 0..<bytes.count * 8 {
            var broken = bytes
            broken[bit / 8] ^= 1 << UInt8(bit % 8)
            guard let datagram = try? Codec.decode(broken) else { continue }
            decoded += 1
            #expect((try? Codec.decode(Codec.encode(datagram))) == datagram)
        }
        #expect(decoded > 0)
    }

    @Test func `random bytes give an error or a value`() {
        var random = SplitMix64(seed: 1)
        for _ in 0..<8_000 {
            let bytes = (0..<Int(random.next() % 80)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            _ = try? Codec.decode(bytes)
            _ = try? StateMessage(decoding: bytes)
        }
    }

    @Test func `a whole state survives its encoding and no truncation of it is read`() throws {
        let bytes = Self.state.encoded()
        #expect(try StateMessage(decoding: bytes) == Self.state)
        for count in 0..<bytes.count {
            #expect(throws: CodecError.self) { try StateMessage(decoding: [UInt8](bytes.prefix(count))) }
        }
        #expect(throws: CodecError.trailingBytes) { try StateMessage(decoding: bytes + [0]) }
    }

    @Test func `a state that is too long for a stream message is cut at a member`() throws {
        let entry = Self.state.entries[0]
        let large = StateMessage(
            sender: PeerID(rawValue: 1), bootID: 2, entries: Array(repeating: entry, count: 12_000))
        let bytes = large.encoded()
        #expect(bytes.count <= StateMessage.bytesMax)
        #expect(try StateMessage(decoding: bytes).entries.count > 4_000)
    }

    @Test func `a ping and an ack with load and map root have 32 and 36 bytes`() {
        #expect(Codec.encode(.ping(Self.pulse)).count == 32)
        #expect(Codec.encode(.ack(incarnation: 1, Self.pulse, seenAt: nil)).count == 36)
        #expect(Codec.encode(.vouch(number: 1, bootID: 2, incarnation: 3)).count == Codec.vouchBytes)
        let longest = PeerAddress(host: "255.255.255.255", port: .max)
        #expect(Codec.encode(.echo(number: 1, incarnation: 2, seenAt: longest)).count <= Codec.pingBytes)
    }

    @Test func `a count of one byte is exact up to 16 and within an eighth above`() {
        let values: [UInt64] = Array(0..<5_000) + (12..<60).map { (shift: UInt64) in (1 << shift) + 12_345 }
        for value in values {
            let read = LogScale.decode(LogScale.encode(value))
            #expect(read <= value && (value > LogScale.greatest || value - read <= value / 8), "\(value): \(read)")
            if value <= 16 { #expect(read == value) }
        }
        #expect(LogScale.decode(LogScale.encode(.max)) == LogScale.greatest)
        for code in UInt8.min ... .max { #expect(LogScale.encode(LogScale.decode(code)) == code) }
    }

    @Test func `unknown records are skipped`() throws {
        let known = Codec.encode([.nack(number: 3)])
        #expect(try Codec.decode([200, 2, 9, 9] + known + [201, 0]) == [.nack(number: 3)])
    }

    @Test func `another version is refused`() {
        var bytes = Self.state.encoded()
        bytes[0] = 2
        #expect(throws: CodecError.invalid(field: "version")) { try StateMessage(decoding: bytes) }
    }

    @Test func `more records than a datagram may have are refused`() {
        let records = Array(repeating: Record.nack(number: 1), count: Codec.recordsMax + 1)
        let bytes = Codec.encode(records)
        #expect(throws: CodecError.outOfRange(field: "records")) { try Codec.decode(bytes) }
    }

    @Test func `metadata beyond its limit is refused with its size`() {
        var metadata = Self.metadata
        for number in 0..<20 { metadata.labels["label-\(number)"] = "0123456789" }
        do throws(GossipConfigurationError) {
            try metadata.validate()
            Issue.record("accepted")
        } catch {
            guard case .metadataTooLarge(let bytes, 320) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(bytes > 320)
        }
    }

    @Test(arguments: [("", "name"), (String(repeating: "n", count: 65), "name"), ("a\nb", "name")])
    func `a bad name is refused`(name: String, field: String) {
        var metadata = Self.metadata
        metadata.name = name
        #expect(throws: GossipConfigurationError.metadataInvalid(field: field)) { try metadata.validate() }
    }
}
