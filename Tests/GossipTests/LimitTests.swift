import ClusterModel
import Testing

@testable import Gossip

/// The last value that is taken and the first that is not, of what peers, operators and callers may say.
struct LimitTests {
    private static func id(_ number: UInt64) -> PeerID { PeerID(rawValue: number) }

    private func isRead(_ records: [Record]) -> Bool { (try? Codec.decode(Codec.encode(records))) == records }

    @Test func `a datagram has up to 128 records`() {
        #expect(isRead(Array(repeating: .nack(number: 1), count: 128)))
        #expect(!isRead(Array(repeating: .nack(number: 1), count: 129)))
    }

    @Test func `user records of 1 to 1000 bytes and direct ones of 1 to 1400 are read`() {
        func user(_ count: Int) -> Record {
            .user(
                UserRecord(
                    origin: Self.id(1), bootID: 2, sequence: 3, bytes: [UInt8](repeating: 7, count: count)))
        }
        for (count, isTaken) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            #expect(isRead([user(count)]) == isTaken, "user record of \(count) bytes")
        }
        for (count, isTaken) in [(0, false), (1, true), (1_400, true), (1_401, false)] {
            #expect(isRead([.direct([UInt8](repeating: 7, count: count))]) == isTaken, "direct record of \(count)")
        }
    }

    @Test func `a bucket is one of at most 256, by its index`() {
        for (index, count, isTaken) in [(15, 16, true), (16, 16, false), (255, 256, true), (0, 257, false)] {
            #expect(
                isRead([.bucket(index: UInt16(index), of: UInt16(count), [])]) == isTaken, "\(index) of \(count)")
        }
    }

    @Test func `a load record of more than eleven minutes looks no younger than that`() throws {
        let record = Record.load(Self.id(1), bootID: 1, LoadRecord(), age: .seconds(700))
        let read = try Codec.decode(Codec.encode([record]))
        #expect(read == [.load(Self.id(1), bootID: 1, LoadRecord(), age: .milliseconds(655_350))])
        var member = Member(
            id: Self.id(1), bootID: 1, incarnation: 0, state: .alive, metadata: CodecTests.metadata, load: LoadRecord())
        #expect(StateMessage.Entry(member, at: .zero + .seconds(700)).loadAgeDuration == nil)
        member.loadAt = .zero
        let entry = StateMessage.Entry(member, at: .zero + .seconds(700))
        #expect(entry.loadAgeDuration == .milliseconds(655_340))
    }

    @Test func `a state message is read up to a million bytes`() {
        let entry = CodecTests.state.entries[0]
        let large = StateMessage(sender: Self.id(1), bootID: 2, entries: Array(repeating: entry, count: 12_000))
        let bytes = large.encoded()
        #expect(bytes.count <= 1_000_000 && bytes.count > 999_000)
        #expect(throws: CodecError.outOfRange(field: "state")) {
            try StateMessage(decoding: [UInt8](repeating: 1, count: 1_000_001))
        }
    }

    // MARK: Metadata

    private func isValid(_ change: (inout MemberMetadata) -> Void) -> Bool {
        var metadata = MemberMetadata(name: "n", address: Bench.address)
        change(&metadata)
        do throws(GossipConfigurationError) { try metadata.validate() } catch { return false }
        return true
    }

    @Test func `metadata is taken up to its limits`() {
        let elsewhere = PeerAddress(host: "h", port: 1)
        for (more, isTaken) in [(0, true), (1, false)] {
            #expect(isValid { $0.name = String(repeating: "n", count: 64 + more) } == isTaken)
            #expect(isValid { $0.version = String(repeating: "v", count: 64 + more) } == isTaken)
            #expect(isValid { $0.alternatives = Array(repeating: elsewhere, count: 2 + more) } == isTaken)
            #expect(isValid { $0.platforms = Array(repeating: "p", count: 16 + more) } == isTaken)
            #expect(
                isValid { metadata in for number in 0..<32 + more { metadata.labels["\(number)"] = "" } } == isTaken)
        }
    }

    @Test func `metadata takes 320 bytes and no more`() {
        var labels = ["a": String(repeating: "x", count: 200), "b": ""]
        var writer = ByteWriter()
        MemberMetadata(name: "n", address: Bench.address, labels: labels).encode(into: &writer)
        labels["b"] = String(repeating: "x", count: 320 - writer.bytes.count)
        #expect(isValid { $0.labels = labels })
        labels["b"]? += "x"
        #expect(!isValid { $0.labels = labels })
    }

    @Test func `a label that comes twice is refused`() throws {
        var writer = ByteWriter()
        MemberMetadata(name: "n", address: Bench.address).encode(into: &writer)
        var bytes = Array(writer.bytes.dropLast())
        bytes += [2, 1, 97, 0, 1, 97, 0]
        var reader = ByteReader(bytes)
        #expect(throws: CodecError.invalid(field: "label")) { try MemberMetadata(from: &reader) }
    }

    @Test func `the addresses of a member are tried in order, over and over`() {
        let addresses = (1...3).map { PeerAddress(host: "h", port: UInt16($0)) }
        let metadata = MemberMetadata(name: "n", address: addresses[0], alternatives: Array(addresses.dropFirst()))
        #expect((0..<7).map { metadata.address(at: $0).port } == [1, 2, 3, 1, 2, 3, 1])
        #expect(addresses.allSatisfy { metadata.isReached(at: $0) })
        #expect(!metadata.isReached(at: PeerAddress(host: "h", port: 4)))
    }

    // MARK: Configuration

    private func fault(_ change: (inout GossipConfiguration) -> Void) -> String? {
        var configuration = GossipConfiguration()
        change(&configuration)
        guard case .outOfRange(let key, _, _)? = configuration.fault else { return nil }
        return key
    }

    @Test func `a configuration is taken up to its limits`() {
        for (value, isTaken) in [(511, false), (512, true), (65_507, true), (65_508, false)] {
            #expect((fault { $0.packetLimit = value } == nil) == isTaken, "packetLimit \(value)")
        }
        for (value, isTaken) in [(-1, false), (0, true), (64, true), (65, false)] {
            #expect((fault { $0.sealOverheadBytes = value } == nil) == isTaken, "sealOverheadBytes \(value)")
        }
        for (value, isTaken) in [(19, false), (20, true), (60_000, true), (60_001, false)] {
            #expect((fault { $0.period = .milliseconds(value) } == nil) == isTaken, "period \(value)")
        }
        for (least, most, isTaken) in [
            (0.9, 4, false), (1, 1, true), (4, 3.9, false), (2, 1_000, true), (2, 1_001, false),
        ] {
            let fault = fault {
                $0.suspicionPeriodsMin = least
                $0.suspicionPeriodsMax = most
            }
            #expect((fault == nil) == isTaken, "\(least) to \(most)")
        }
    }

    @Test(arguments: [512, 1_200, 1_400, 65_507])
    func `the longest records fill a datagram of the packet limit to its last byte`(limit: Int) throws {
        var configuration = GossipConfiguration()
        configuration.packetLimit = limit
        let plaintext = limit - 44
        var bench = try Bench(configuration: configuration, peers: [2])
        #expect(configuration.datagramBytesMax == plaintext)
        #expect(bench.node.publishBytesMax == min(1_000, plaintext - 23))
        #expect(bench.node.directBytesMax == min(1_400, plaintext - 3))
        let direct = bench.handle(
            .sendDirect([UInt8](repeating: 1, count: bench.node.directBytesMax), to: Self.id(2)))
        let sizes = direct.compactMap { if case .send(let bytes, _) = $0 { bytes.count } else { nil } }
        #expect(sizes == [min(1_403, plaintext)])
        _ = bench.handle(.publish([UInt8](repeating: 1, count: bench.node.publishBytesMax), isUrgent: true))
        let sent = bench.run(for: .milliseconds(200)).compactMap {
            if case .send(let bytes, _) = $0.effect { bytes.count } else { nil }
        }
        #expect(sent.contains { $0 >= min(1_023, plaintext) } && sent.allSatisfy { $0 <= plaintext })
        #expect(bench.node.counters.dropped.tooLong == 0)
    }
}
