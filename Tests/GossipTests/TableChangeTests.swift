import ClusterModel
import Testing

@testable import Gossip

/// What a record does beside the state: what is kept, counted, passed on and reported.
struct TableChangeTests {
    private static let two = PeerID(rawValue: 2)

    private func reports(_ effects: [Membership.Effect]) -> [MemberChange.Kind] {
        effects.compactMap { if case .report(let change) = $0 { change.kind } else { nil } }
    }

    /// All that is pushed or rides in the next 200 ms.
    private func news(_ bench: inout Bench) throws -> [Record] {
        try bench.run(for: .milliseconds(200)).flatMap { _, effect -> [Record] in
            guard case .send(let bytes, _) = effect else { return [] }
            return try Codec.decode(bytes)
        }
    }

    private func settle(_ bench: inout Bench) {
        // What was told before is told no more.
        bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
    }

    private func down(_ bench: inout Bench, _ peer: UInt64 = 2) throws {
        let entry = try #require(bench.node.table[PeerID(rawValue: peer)])
        bench.node.takeDown(entry, by: Claim(.dead, entry.member, by: Bench.id), to: .dead, at: bench.now)
    }

    // MARK: Alive

    @Test func `a restart begins with nothing of the boot before, and is told as a whole record`() throws {
        var bench = try Bench(peers: [2, 3])
        var load = LoadRecord()
        load.running = 1
        load.sequence = 5
        _ = bench.receive([.load(Self.two, bootID: 10, load, age: .zero)], from: 3)
        #expect(bench.node.member(Self.two)?.loadAge(at: bench.now) == .zero)
        settle(&bench)
        var alive = Bench.alive(2, boot: 11)
        alive.metadata.slots = 6
        let effects = bench.receive([.alive(alive)], from: 3)
        #expect(reports(effects) == [.restarted])
        let member = try #require(bench.node.member(Self.two))
        #expect(member.load.running == 0 && member.load.slots == 6 && member.loadAt == nil && member.bootID == 11)
        #expect(try news(&bench).contains(.alive(alive)))
        // Its first load record has any number.
        load.sequence = 0
        load.running = 3
        _ = bench.receive([.load(Self.two, bootID: 11, load, age: .zero)], from: 3)
        #expect(bench.node.member(Self.two)?.load.running == 3)
        #expect(reports(bench.receive([.alive(Bench.alive(2, boot: 10, incarnation: 9))], from: 3)).isEmpty)
        #expect(bench.node.member(Self.two)?.bootID == 11)
    }

    @Test func `new metadata is told as a whole record and begins with its first address, a refutation is short`()
        throws
    {
        var bench = try Bench(peers: [3])
        var alive = Bench.alive(2)
        alive.metadata.alternatives = [Bench.address(22)]
        _ = bench.receive([.alive(alive)], from: 3)
        _ = bench.receive([.nack(number: 1)], from: 2, source: Bench.address(22))
        #expect(bench.node.table[Self.two]?.address == Bench.address(22))
        settle(&bench)
        _ = bench.receive([.refute(Self.two, bootID: 10, incarnation: 1)], from: 3)
        #expect(bench.node.table[Self.two]?.address == Bench.address(22))
        #expect(try news(&bench).contains(.refute(Self.two, bootID: 10, incarnation: 1)))
        settle(&bench)
        alive.incarnation = 1 << 16
        alive.metadata.version = "2"
        #expect(reports(bench.receive([.alive(alive)], from: 3)) == [.updated])
        #expect(bench.node.table[Self.two]?.address == Bench.address(2))
        #expect(try news(&bench).contains(.alive(alive)))
    }

    @Test func `a refutation ends suspicion, probes and stalled condition, and is counted`() throws {
        var bench = try Bench(peers: [2, 3, 4])
        var claim = Claim(kind: .suspect, subject: Self.two, bootID: 10, incarnation: 0, accuser: PeerID(rawValue: 3))
        claim.evidence = .accepted
        _ = bench.receive([.claim(claim)], from: 3)
        bench.node.startProbe(of: Self.two, for: .challenge, at: bench.now)
        #expect(bench.node.member(Self.two)?.condition == .stalled)
        #expect(bench.node.member(Self.two)?.takesWork == false)
        for record in [
            Record.refute(Self.two, bootID: 9, incarnation: 5), .refute(Self.two, bootID: 10, incarnation: 0),
            .refute(Self.two, bootID: 10, incarnation: 1 << 16),
        ] {
            #expect(reports(bench.receive([record], from: 3)).isEmpty, "\(record)")
        }
        let effects = bench.receive([.refute(Self.two, bootID: 10, incarnation: 1)], from: 3)
        #expect(reports(effects) == [.refuted] && bench.node.counters.refutations == 1)
        #expect(bench.node.member(Self.two)?.condition == .well)
        #expect(bench.node.table.suspicions.isEmpty && bench.node.probes.allSatisfy { $0.subject != Self.two })
    }

    @Test func `a member that comes back is counted and reported once`() throws {
        var bench = try Bench(peers: [2, 3])
        try down(&bench)
        let effects = bench.receive([.alive(Bench.alive(2, incarnation: 1))], from: 3)
        #expect(reports(effects) == [.returned] && bench.node.counters.returns == 1)
        #expect(reports(bench.receive([.alive(Bench.alive(2, incarnation: 1))], from: 3)).isEmpty)
    }

    // MARK: Claims

    @Test func `a suspicion is passed on with each accuser and each change of evidence, once`() throws {
        var bench = try Bench(peers: Array(2...8))
        func told(by accuser: UInt64, _ evidence: Suspicion.Evidence) throws -> Bool {
            settle(&bench)
            var claim = Claim(
                kind: .suspect, subject: Self.two, bootID: 10, incarnation: 0, accuser: PeerID(rawValue: accuser))
            claim.evidence = evidence
            _ = bench.receive([.claim(claim)], from: 3)
            return bench.node.dissemination.counts[0] == 1
        }
        #expect(try told(by: 3, .silence) && !told(by: 3, .silence))
        #expect(try told(by: 4, .silence) && !told(by: 4, .silence))
        let accusers = bench.node.table.suspicions[Self.two]?.accusers
        #expect(accusers == [PeerID(rawValue: 3), PeerID(rawValue: 4)])
        // What the accuser sees now counts, also when it is less.
        #expect(try told(by: 3, .refused) && bench.node.table.suspicions[Self.two]?.evidence == .refused)
        #expect(try told(by: 3, .accepted) && bench.node.table.suspicions[Self.two]?.evidence == .accepted)
        #expect(bench.node.counters.suspicions == 1)
    }

    @Test func `a suspicion or death of a higher incarnation raises the member's`() throws {
        var bench = try Bench(peers: [2, 3])
        _ = bench.receive([Bench.claim(.suspect, 2, incarnation: 3, by: 3)], from: 3)
        #expect(bench.node.member(Self.two)?.incarnation == 3 && bench.state(of: 2) == .suspect)
        // An older accusation changes nothing, a newer one begins anew.
        _ = bench.receive([Bench.claim(.suspect, 2, incarnation: 2, by: 4)], from: 3)
        #expect(bench.node.table.suspicions[Self.two]?.accusers == [PeerID(rawValue: 3)])
        _ = bench.receive([Bench.claim(.suspect, 2, incarnation: 4, by: 5)], from: 3)
        #expect(bench.node.table.suspicions[Self.two]?.accusers == [PeerID(rawValue: 5)])
        var claim = Claim(kind: .dead, subject: Self.two, bootID: 10, incarnation: 7, accuser: PeerID(rawValue: 3))
        claim.evidence = .refused
        _ = bench.receive([.claim(claim)], from: 3)
        #expect(bench.node.member(Self.two)?.incarnation == 7 && bench.state(of: 2) == .dead)
    }

    @Test func `a death ends suspicion, probes and condition, is told, counted and reported once`() throws {
        var bench = try Bench(peers: [2, 3])
        bench.node.startProbe(of: Self.two, for: .challenge, at: bench.now)
        bench.node.setCondition(.udpBlocked, of: Self.two)
        settle(&bench)
        var claim = Claim(kind: .dead, subject: Self.two, bootID: 10, incarnation: 0, accuser: PeerID(rawValue: 3))
        claim.evidence = .refused
        #expect(reports(bench.receive([.claim(claim)], from: 3)) == [.died])
        #expect(bench.node.member(Self.two)?.condition == .well && bench.node.probes.isEmpty)
        #expect(reports(bench.receive([.claim(claim)], from: 3)).isEmpty && bench.node.counters.deaths == 1)
        #expect(try news(&bench).contains(.claim(claim)))
        // Who leaves is no death, and leaves once.
        settle(&bench)
        let left = Bench.claim(.left, 3, by: 3)
        #expect(reports(bench.receive([left], from: 2, boot: 11)) == [.left])
        #expect(reports(bench.receive([left], from: 2, boot: 11)).isEmpty && bench.node.counters.deaths == 1)
        #expect(bench.node.dissemination.counts[0] == 1)
    }

    @Test func `the dead and departed are forgotten after the tombstones' lifetime, and not before`() throws {
        var configuration = GossipConfiguration()
        configuration.tombstoneLifetime = .seconds(10)
        var bench = try Bench(configuration: configuration, peers: [2, 3])
        try down(&bench)
        _ = bench.receive([Bench.claim(.left, 3, by: 3)], from: 2)
        _ = bench.run(for: .milliseconds(9_900))
        #expect(bench.state(of: 2) == .dead && bench.state(of: 3) == .left && bench.node.footprint.members == 3)
        _ = bench.run(for: .milliseconds(1_300))
        #expect(bench.state(of: 2) == nil && bench.state(of: 3) == nil && bench.node.footprint.members == 1)
    }

    // MARK: This node

    @Test
    func `an accusation raises the incarnation by one, makes this node doubt itself, and its accuser hears first`()
        throws
    {
        var bench = try Bench(peers: [2, 3])
        func accused(_ incarnation: UInt32, boot: UInt64 = 10) throws -> [Record] {
            try records(
                bench.receive([Bench.claim(.suspect, 1, boot: boot, incarnation: incarnation, by: 3)], from: 2), to: 3)
        }
        #expect(try accused(0) == [.refute(Bench.id, bootID: 10, incarnation: 1)])
        #expect(bench.node.localHealthScore == 1 && bench.node.counters.ownRefutations == 1)
        #expect(try accused(5) == [.refute(Bench.id, bootID: 10, incarnation: 6)])
        #expect(try accused(5).isEmpty && accused(0).isEmpty)
        #expect(bench.node.own.incarnation == 6 && bench.node.localHealthScore == 2)
        #expect(try accused(6) == [.refute(Bench.id, bootID: 10, incarnation: 7)])
        // Of a boot before this one: the others hear of this boot.
        settle(&bench)
        #expect(try accused(9, boot: 9).isEmpty && bench.node.own.incarnation == 7)
        #expect(try news(&bench).contains(.alive(AliveRecord(bench.node.own))))
    }

    @Test func `a higher incarnation that others know of this boot is overtaken, and the numbers have an end`() throws {
        var bench = try Bench(peers: [2])
        for (incarnation, boot, expected) in [
            (UInt32(4), UInt64(9), UInt32(0)), (0, 10, 0), (4, 10, 5), (5, 10, 5), (.max - 1, 10, .max),
            (.max, 10, .max),
        ] {
            _ = bench.receive([.refute(Bench.id, bootID: boot, incarnation: incarnation)], from: 2)
            #expect(bench.node.own.incarnation == expected, "\(incarnation)")
        }
        bench = try Bench(peers: [2])
        for (incarnation, expected) in [(UInt32(0), UInt32(0)), (3, 4), (4, 4)] {
            let alive = AliveRecord(
                id: Bench.id, bootID: 10, incarnation: incarnation,
                metadata: MemberMetadata(name: "own", address: Bench.address))
            _ = bench.receive([.alive(alive)], from: 2)
            #expect(bench.node.own.incarnation == expected)
        }
    }

    @Test func `a step to the upper half, and all after new metadata, is told as a whole record`() throws {
        var bench = try Bench(peers: [2])
        settle(&bench)
        _ = bench.receive([Bench.claim(.suspect, 1, incarnation: 0xFFFE, by: 3)], from: 2)
        var said = try news(&bench)
        #expect(said.contains(.refute(Bench.id, bootID: 10, incarnation: 0xFFFF)))
        settle(&bench)
        _ = bench.receive([Bench.claim(.suspect, 1, incarnation: 0xFFFF, by: 3)], from: 2)
        said = try news(&bench)
        #expect(said.contains(.alive(AliveRecord(bench.node.own))) && bench.node.own.incarnation == 0x1_0000)
        var metadata = bench.node.own.metadata
        metadata.version = "2"
        _ = bench.handle(.metadataChanged(metadata))
        #expect(bench.node.own.incarnation == 0x2_0000)
        settle(&bench)
        _ = bench.receive([Bench.claim(.suspect, 1, incarnation: 0x2_0000, by: 3)], from: 2)
        said = try news(&bench)
        #expect(said.contains(.alive(AliveRecord(bench.node.own))))
    }

    @Test func `who believes in the boot before hears of this one`() throws {
        var bench = try Bench(peers: [2])
        settle(&bench)
        let before = AliveRecord(
            id: Bench.id, bootID: 9, incarnation: 3, metadata: MemberMetadata(name: "own", address: Bench.address))
        _ = bench.receive([.alive(before)], from: 2)
        #expect(try news(&bench).contains(.alive(AliveRecord(bench.node.own))))
    }

    // MARK: Load, holdings, user records

    private func load(_ sequence: UInt16, running: UInt16 = 0) -> LoadRecord {
        var load = LoadRecord()
        load.sequence = sequence
        load.slots = 4
        load.running = running
        return load
    }

    @Test func `a load record is taken if it is newer, with its age, and one that has not changed makes it young`()
        throws
    {
        var bench = try Bench(peers: [2, 3])
        func receive(_ load: LoadRecord, boot: UInt64 = 10, age: Int64) -> [MemberChange.Kind] {
            reports(bench.receive([.load(Self.two, bootID: boot, load, age: .milliseconds(age))], from: 3))
        }
        func age() -> Duration? { bench.node.member(Self.two)?.loadAge(at: bench.now) }
        #expect(receive(load(5), boot: 9, age: 0).isEmpty && age() == nil)
        #expect(receive(load(5), age: 3_000) == [.load] && age() == .milliseconds(3_000))
        #expect(receive(load(4, running: 1), age: 1_000).isEmpty && age() == .milliseconds(3_000))
        #expect(receive(load(5), age: 4_000).isEmpty && age() == .milliseconds(3_000))
        #expect(receive(load(5), age: 2_000).isEmpty && age() == .milliseconds(2_000))
        #expect(receive(load(6, running: 1), age: 1_000) == [.load])
        #expect(bench.node.member(Self.two)?.load.running == 1)
    }

    @Test func `a load record of another class is pushed with its age, others ride`() throws {
        var bench = try Bench(peers: [2, 3])
        func pushes(_ load: LoadRecord) -> Bool {
            settle(&bench)
            _ = bench.receive([.load(Self.two, bootID: 10, load, age: .milliseconds(500))], from: 3)
            return bench.node.dissemination.wantsPush
        }
        _ = pushes(load(1))
        #expect(bench.node.dissemination.counts[1] == 1)
        #expect(pushes(load(2, running: 1)) && !pushes(load(3, running: 2)) && pushes(load(4, running: 4)))
        #expect(try news(&bench).contains(.load(Self.two, bootID: 10, load(4, running: 4), age: .milliseconds(500))))
        #expect(!pushes(load(3)) && bench.node.dissemination.counts[1] == 0, "an older one goes no further")
    }

    @Test func `holdings are those of the boot that speaks, and are reported when they change`() throws {
        var bench = try Bench(peers: [2, 3])
        #expect(reports(bench.receive([.holdings(CodecTests.holdings)], from: 2, boot: 11)).isEmpty)
        #expect(reports(bench.receive([.holdings(CodecTests.holdings)], from: 2)) == [.holdings])
        #expect(reports(bench.receive([.holdings(CodecTests.holdings)], from: 2)).isEmpty)
    }

    @Test func `user records of members that are up, of this boot, are delivered and passed on`() throws {
        var bench = try Bench(peers: [2, 3, 4])
        try down(&bench, 4)
        settle(&bench)
        for (origin, boot, isTaken) in [(UInt64(1), UInt64(10), false), (2, 9, false), (4, 10, false), (2, 10, true)] {
            let user = UserRecord(origin: PeerID(rawValue: origin), bootID: boot, sequence: 1, bytes: [7])
            let effects = bench.receive([.user(user)], from: 3)
            #expect(effects.contains(.deliver([7], from: PeerID(rawValue: origin))) == isTaken, "\(origin) \(boot)")
            #expect(bench.node.dissemination.counts[2] == (isTaken ? 1 : 0))
        }
    }

    @Test func `whoever joins, restarts, changes or leaves is written down for a rejoin`() throws {
        var changed = Bench.alive(2, incarnation: 1 << 16)
        changed.metadata.version = "2"
        for record in [
            Record.alive(Bench.alive(4)), .alive(Bench.alive(2, boot: 11)), .alive(changed),
            Bench.claim(.left, 2, by: 2),
        ] {
            var bench = try Bench(peers: [2, 3])
            func writes(_ duration: Duration) -> Int {
                bench.run(for: duration).count { if case .persist = $0.effect { true } else { false } }
            }
            #expect(writes(.milliseconds(100)) == 1)
            _ = bench.receive([record], from: 3)
            #expect(writes(.milliseconds(4_890)) == 0 && writes(.milliseconds(20)) == 1, "\(record)")
        }
    }
}
