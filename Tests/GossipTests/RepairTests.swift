import ClusterModel
import Testing

@testable import Gossip

/// Two tables that differ, and how one is mended by the other.
struct RepairTests {
    private static let two = PeerID(rawValue: 2)

    private func records(_ effects: [Membership.Effect]) throws -> [Record] {
        try effects.flatMap { effect -> [Record] in
            guard case .send(let bytes, _) = effect else { return [] }
            return try Codec.decode(bytes)
        }
    }

    private func exchanges(_ effects: [Membership.Effect]) -> [PeerAddress] {
        effects.compactMap { if case .exchange(_, let address, _, _) = $0 { address } else { nil } }
    }

    private static func ping(_ hash: UInt64, up: UInt16) -> Record {
        .ping(Pulse(number: 7, stateHash: hash, upCount: up, mapRoot: 0, load: LoadRecord()))
    }

    private static func ack(_ hash: UInt64, up: UInt16) -> Record {
        .ack(
            incarnation: 0, Pulse(number: 7, stateHash: hash, upCount: up, mapRoot: 0, load: LoadRecord()), seenAt: nil)
    }

    /// A bench whose table has been quiet for a second.
    private func quiet(_ peers: [UInt64], configuration: GossipConfiguration = GossipConfiguration()) throws -> Bench {
        var bench = try Bench(configuration: configuration, peers: peers)
        bench.now = bench.now + .milliseconds(250)
        return bench
    }

    private func down(_ bench: inout Bench, _ peer: UInt64, to state: Member.State = .dead) throws {
        let entry = try #require(bench.node.table[PeerID(rawValue: peer)])
        bench.node.takeDown(entry, by: Claim(.dead, entry.member, by: Bench.id), to: state, at: bench.now)
    }

    private func standing(
        _ peer: UInt64, boot: UInt64 = 10, incarnation: UInt32 = 0, _ state: Member.State = .alive
    ) -> Standing {
        Standing(id: PeerID(rawValue: peer), bootID: boot, incarnation: incarnation, state: state)
    }

    private func bucket(_ standings: [Standing]) -> Record {
        // All members of the tests' tables in one bucket.
        .bucket(index: 0, of: 1, standings)
    }

    // MARK: Noticing

    @Test(arguments: [true, false])
    func `a difference is mended by bucket hashes, one of more than 8 members or with a stranger by a stream`(
        isPing: Bool
    ) throws {
        for (up, sender, boot, isByStream) in [
            (UInt16(12), UInt64(2), UInt64(10), false), (13, 2, 10, true), (4, 2, 11, true), (4, 99, 10, true),
        ] {
            var bench = try quiet([2, 3, 4])
            let record = isPing ? Self.ping(1, up: up) : Self.ack(1, up: up)
            // What an ack of a stranger says is no news of it.
            let effects = bench.receive([record], from: sender, boot: boot)
            let hashes = try records(effects).contains { if case .buckets = $0 { true } else { false } }
            #expect(hashes != isByStream && exchanges(effects).isEmpty != isByStream, "\(up) \(sender) \(boot)")
            let rounds = bench.node.counters.antiEntropy
            #expect(rounds.differencesSeen == 1 && rounds.byStream == (isByStream ? 1 : 0))
            #expect(rounds.byDatagrams == (isByStream ? 0 : 1))
        }
        var bench = try quiet([2, 3, 4])
        let record = isPing ? Self.ping(bench.node.stateHash, up: 4) : Self.ack(bench.node.stateHash, up: 4)
        #expect(exchanges(bench.receive([record], from: 2)).isEmpty)
        #expect(bench.node.counters.antiEntropy.differencesSeen == 0)
    }

    @Test func `a stranger that shows an equal hash is asked all the same`() throws {
        var bench = try quiet([2, 3])
        #expect(exchanges(bench.receive([Self.ping(bench.node.stateHash, up: 3)], from: 99)) == [Bench.address(99)])
    }

    // MARK: Bucket hashes

    @Test func `hashes are answered with the buckets that differ, up to eight, else by a stream`() throws {
        for (differing, isByStream) in [(0, false), (1, false), (8, false), (9, true)] {
            var bench = try quiet([2, 3])
            var hashes = bench.node.table.bucketHashes(count: 16)
            for index in 0..<differing { hashes[index] ^= 1 }
            let effects = bench.receive([.buckets(hashes)], from: 2)
            let answered = try records(effects).count { if case .bucket(_, 16, _) = $0 { true } else { false } }
            #expect(answered == (isByStream ? 0 : differing))
            #expect(exchanges(effects) == (isByStream ? [Bench.address(2)] : []))
        }
    }

    @Test func `many questions in one datagram begin one stream`() throws {
        var bench = try quiet([2, 3])
        let hashes = bench.node.table.bucketHashes(count: 16).map { $0 ^ 1 }
        let effects = bench.receive([Record](repeating: .buckets(hashes), count: 8), from: 2)
        #expect(exchanges(effects) == [Bench.address(2)])
        // One that hangs does not hold up those with others.
        #expect(exchanges(bench.receive([.buckets(hashes)], from: 3)) == [Bench.address(3)])
    }

    @Test func `what mends tables by datagrams pays for its bytes, and waits when there are none`() throws {
        var configuration = GossipConfiguration()
        configuration.bytesPerSecond = 500
        var bench = try quiet([2, 3, 4], configuration: configuration)
        let question = Record.want([Self.two, PeerID(rawValue: 3), PeerID(rawValue: 4)])
        func answered() throws -> Int {
            try records(bench.receive([question], from: 2)).count { if case .alive = $0 { true } else { false } }
        }
        var counts: [Int] = []
        for _ in 0..<40 { counts.append(try answered()) }
        #expect(counts[0] == 3 && counts.last == 0 && bench.node.dissemination.heldBack > 0)
        bench.now = bench.now + .seconds(2)
        #expect(try answered() == 3)
    }

    @Test func `only 16 to 256 hashes of a member's boot are answered, by a node that stays`() throws {
        for (count, boot, leaves, isAnswered) in [
            (8, UInt64(10), false, false), (16, 10, false, true), (24, 10, false, false), (256, 10, false, true),
            (512, 10, false, false), (16, 11, false, false), (16, 10, true, false),
        ] {
            var configuration = GossipConfiguration()
            configuration.packetLimit = 4_000
            var bench = try quiet([2, 3], configuration: configuration)
            if leaves { _ = bench.handle(.leave) }
            var hashes = [UInt32](repeating: 0, count: count)
            let index = Buckets.index(of: Self.two, count: count & (count - 1) == 0 ? count : 16)
            if count & (count - 1) == 0 { hashes = bench.node.table.bucketHashes(count: count) }
            hashes[index] ^= 1
            let answered = try records(bench.receive([.buckets(hashes)], from: 2, boot: boot))
                .count { if case .bucket = $0 { true } else { false } }
            #expect((answered > 0) == isAnswered, "\(count) hashes, boot \(boot), leaving \(leaves)")
        }
    }

    @Test func `a bucket that fills a datagram is sent in it, a longer one goes by a stream`() throws {
        // 65 standings of 21 bytes, index, count and frame.
        for (more, isByStream) in [(0, false), (-1, true)] {
            var configuration = GossipConfiguration()
            configuration.packetLimit = 44 + 3 + 4 + 65 * 21 + more
            var bench = try Bench(configuration: configuration)
            // Not this node's own.
            let index = (Buckets.index(of: Bench.id, count: 16) + 1) % 16
            let peers = (UInt64(2)...4_000).filter { Buckets.index(of: PeerID(rawValue: $0), count: 16) == index }
                .prefix(65)
            for peer in peers {
                _ = bench.receive([.alive(Bench.alive(peer))], from: peers[0])
            }
            bench.now = bench.now + .milliseconds(100)
            var hashes = bench.node.table.bucketHashes(count: 16)
            hashes[index] ^= 1
            let effects = bench.receive([.buckets(hashes)], from: peers[0])
            #expect(exchanges(effects).isEmpty != isByStream)
            let sizes = effects.compactMap { if case .send(let bytes, _) = $0 { bytes.count } else { nil } }
            #expect(sizes.filter { $0 > 500 } == (isByStream ? [] : [configuration.datagramBytesMax]))
        }
    }

    @Test func `a bucket tells of the dead and departed too`() throws {
        var bench = try quiet([2, 3, 4])
        try down(&bench, 3)
        try down(&bench, 4, to: .left)
        let known = (0..<16).flatMap { bench.node.table.standings(inBucket: $0, of: 16) }.sorted { $0.id < $1.id }
        #expect(known.map(\.state) == [.alive, .alive, .dead, .left])
    }

    // MARK: A bucket

    @Test func `what is unknown or newer in a bucket is asked for, up to 16, and what is missing there is told`() throws
    {
        var bench = try quiet([2, 3, 4])
        try down(&bench, 4)
        // 1 and 3 are not listed.
        let unknown = (UInt64(50)...70).map { standing($0) }
        let own = standing(1)
        let said = try records(bench.receive([bucket([standing(2, incarnation: 1), own] + unknown)], from: 2))
        let wanted = said.compactMap { if case .want(let ids) = $0 { ids } else { nil } }.flatMap { $0 }
        #expect(wanted == [Self.two] + (UInt64(50)...64).map { PeerID(rawValue: $0) })
        #expect(said.contains(.alive(Bench.alive(3))) && said.count == 2, "of the dead nothing is said unasked")
    }

    @Test func `a bucket of a stranger, of no power of two, or with others' members is not looked at`() throws {
        var bench = try quiet([2, 3])
        #expect(try records(bench.receive([bucket([standing(50)])], from: 2, boot: 11)).isEmpty)
        #expect(try records(bench.receive([.bucket(index: 0, of: 3, [standing(50)])], from: 2)).isEmpty)
        let index = Buckets.index(of: PeerID(rawValue: 50), count: 16)
        let elsewhere = UInt16((index + 1) % 16)
        let said = try records(bench.receive([.bucket(index: elsewhere, of: 16, [standing(50)])], from: 2))
        #expect(!said.contains { if case .want = $0 { true } else { false } })
        _ = bench.handle(.leave)
        #expect(try records(bench.receive([bucket([standing(50)])], from: 2)).isEmpty)
    }

    @Test func `what is older there is told; of the dead here the member itself is asked`() throws {
        var bench = try Bench(peers: [2, 3, 4])
        _ = bench.receive([.refute(PeerID(rawValue: 3), bootID: 10, incarnation: 2)], from: 3)
        try down(&bench, 4)
        let rest = [standing(1), standing(2)]
        let told = try records(bench.receive([bucket(rest + [standing(3, incarnation: 1), standing(4)])], from: 2))
        var newer = Bench.alive(3)
        newer.incarnation = 2
        #expect(told.contains(.alive(newer)))
        let dead = try #require(bench.node.member(PeerID(rawValue: 4)))
        #expect(told.contains(.claim(Claim(.dead, dead, by: Bench.id))))
        #expect(told.contains { if case .ping = $0 { true } else { false } })
        #expect(told.count == 3)
        // Also where it died later than the other side knows.
        bench = try Bench(peers: [2, 3, 4])
        _ = bench.receive([.refute(PeerID(rawValue: 4), bootID: 10, incarnation: 2)], from: 3)
        try down(&bench, 4)
        let asked = bench.receive([bucket(rest + [standing(3), standing(4, incarnation: 1)])], from: 2)
        #expect(try records(asked).count == 2)
        for case .send(_, let address) in asked { #expect(address == Bench.address(4)) }
    }

    @Test func `the end of another boot is fetched by a stream, one at a time`() throws {
        var bench = try Bench(peers: [2, 3])
        let rest = [standing(1), standing(2)]
        #expect(
            exchanges(bench.receive([bucket(rest + [standing(3, boot: 11, .dead)])], from: 2)) == [Bench.address(2)])
        #expect(exchanges(bench.receive([bucket(rest + [standing(3, boot: 11, .left)])], from: 2)).isEmpty)
        let said = try records(bench.receive([bucket(rest + [standing(3, boot: 11)])], from: 2))
        #expect(said == [.want([PeerID(rawValue: 3)])])
    }

    /// Here, there, what is said of the member, and its state afterwards.
    @Test(
        arguments: [
            (.alive, .left, [], .left), (.left, .alive, [.left], .left), (.dead, .alive, [.dead], .dead),
            (.alive, .dead, [.dead], .alive), (.dead, .dead, [], .dead), (.left, .left, [], .left),
            (.alive, .suspect, [], .alive),
        ] as [(Member.State, Member.State, [Claim.Kind], Member.State)])
    func `of two words on one incarnation the graver is not believed unless it is a good-bye`(
        here: Member.State, there: Member.State, said: [Claim.Kind], after: Member.State
    ) throws {
        var bench = try Bench(peers: [2, 3])
        if here != .alive { try down(&bench, 3, to: here) }
        let effects = bench.receive([bucket([standing(1), standing(2), standing(3, there)])], from: 2)
        let kinds = try records(effects).compactMap { if case .claim(let claim) = $0 { claim.kind } else { nil } }
        #expect(kinds == said && bench.state(of: 3) == after)
        // A death elsewhere is put to the member itself.
        #expect(bench.node.probes.contains { $0.purpose == .challenge } == (there == .dead && here == .alive))
    }

    /// What a bucket says of this node: boot, incarnation, state.
    @Test(
        arguments: [
            (9, 0, .alive, true, 0), (10, 1, .alive, true, 2), (10, 2, .alive, false, 2),
            (10, 2, .dead, true, 2), (10, 4, .suspect, true, 5),
        ] as [(UInt64, UInt32, Member.State, Bool, UInt32)])
    func `a node announces itself to whoever knows less of it than there is`(
        boot: UInt64, incarnation: UInt32, state: Member.State, isAnnounced: Bool, after: UInt32
    ) throws {
        var bench = try Bench(peers: [2])
        if after >= 2 { bench.node.raiseIncarnation(above: 1, at: bench.now) }
        bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
        _ = bench.receive([bucket([standing(1, boot: boot, incarnation: incarnation, state), standing(2)])], from: 2)
        #expect((bench.node.dissemination.counts[0] == 1) == isAnnounced)
        #expect(bench.node.own.incarnation == after)
    }

    @Test func `a later boot of this node is fetched by a stream`() throws {
        var bench = try Bench(peers: [2])
        #expect(
            exchanges(bench.receive([bucket([standing(1, boot: 11), standing(2)])], from: 2)) == [Bench.address(2)])
    }

    // MARK: Wants

    @Test func `up to 16 members are sent to whom asks, packed into full datagrams, and none to a stranger`() throws {
        for limit in [512, 1_200] {
            var configuration = GossipConfiguration()
            configuration.packetLimit = limit
            var bench = try Bench(configuration: configuration, peers: Array(2...30))
            let ids = (UInt64(2)...30).map { PeerID(rawValue: $0) }
            #expect(try records(bench.receive([.want(ids)], from: 2, boot: 11)).isEmpty)
            let effects = bench.receive([.want(ids)], from: 2)
            #expect(try records(effects).count == 16)
            let sizes = effects.compactMap { if case .send(let bytes, _) = $0 { bytes.count } else { nil } }
            let record = Codec.encode(.alive(Bench.alive(20))).count
            #expect(sizes.allSatisfy { $0 <= limit - 44 })
            #expect(sizes.dropLast().allSatisfy { $0 > limit - 44 - record }, "\(sizes)")
        }
    }

    @Test func `a datagram of wanted members is filled to its last byte`() throws {
        let record = Codec.encode(.alive(Bench.alive(2))).count
        for more in [0, -1] {
            var configuration = GossipConfiguration()
            configuration.packetLimit = 44 + 13 * record + more
            var bench = try Bench(configuration: configuration, peers: Array(2...9))
            let ids = (0..<16).map { PeerID(rawValue: 2 + UInt64($0) % 8) }
            let effects = bench.receive([.want(ids)], from: 2)
            let sizes = effects.compactMap { if case .send(let bytes, _) = $0 { bytes.count } else { nil } }
            #expect(sizes.first == (13 + more) * record && sizes.count == 2 && sizes.reduce(0, +) == 16 * record)
        }
    }
}
