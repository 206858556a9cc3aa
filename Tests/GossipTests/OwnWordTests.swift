import ClusterModel
import Testing

@testable import Gossip

/// What a node says of itself: load, metadata, good-bye, and whose identity it has.
struct OwnWordTests {
    private static let two = PeerID(rawValue: 2)

    private func settle(_ bench: inout Bench) {
        bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
        bench.node.nextPushAt = nil
    }

    private func load(running: UInt16 = 0, disk: UInt64 = 1 << 40) -> LoadRecord {
        var load = LoadRecord()
        load.slots = 2
        load.running = running
        load.diskFree = disk
        return load
    }

    private func exchanges(_ effects: [Membership.Effect]) -> Int {
        effects.count { if case .exchange = $0 { true } else { false } }
    }

    // MARK: Load

    @Test func `a change of class is pushed once a period, draining always, and what has not changed is not told`()
        throws
    {
        var bench = try Bench(peers: [2, 3])
        func change(_ load: LoadRecord) -> (told: Int, pushed: Bool) {
            settle(&bench)
            _ = bench.handle(.loadChanged(load))
            return (bench.node.dissemination.counts[1], bench.node.dissemination.wantsPush)
        }
        var same = load()
        same.platform = 3
        #expect(change(same) == (1, false) && change(same) == (0, false))
        #expect(change(load(running: 1)) == (1, true))
        #expect(change(load(running: 2)) == (1, false), "the second in a period rides")
        bench.now = bench.now + .milliseconds(999)
        #expect(change(load(running: 1)) == (1, false))
        bench.now = bench.now + .milliseconds(1)
        #expect(change(load(running: 1)) == (0, false) && change(load(running: 2)) == (1, true))
        settle(&bench)
        _ = bench.handle(.draining(true))
        #expect(bench.node.dissemination.wantsPush && bench.node.own.load.isDraining)
        // It stays what the membership set, and numbers go on.
        let before = bench.node.own.load.sequence
        #expect(change(load(running: 1)) == (1, false))
        #expect(bench.node.own.load.isDraining && bench.node.own.load.sequence == before + 1)
    }

    @Test func `a node sees its own load as others will read it`() throws {
        var bench = try Bench(peers: [2])
        var load = load(disk: 12_345_678_901)
        load.queued = 1_001
        load.flags = .draining
        _ = bench.handle(.loadChanged(load))
        let own = bench.node.own.load
        var writer = ByteWriter()
        own.encode(into: &writer)
        var reader = ByteReader(writer.bytes)
        #expect(try LoadRecord(from: &reader) == own && own.queued < 1_001 && !own.isDraining)
    }

    // MARK: Metadata

    @Test func `new metadata takes a step in the upper half and is told whole; what others would refuse is not taken`()
        throws
    {
        var bench = try Bench(peers: [2])
        bench.node.raiseIncarnation(above: 4, at: bench.now)
        settle(&bench)
        var metadata = bench.node.own.metadata
        _ = bench.handle(.metadataChanged(metadata))
        metadata.name = ""
        _ = bench.handle(.metadataChanged(metadata))
        #expect(bench.node.own.incarnation == 5 && bench.node.dissemination.counts[0] == 0)
        metadata.name = "other"
        _ = bench.handle(.metadataChanged(metadata))
        #expect(bench.node.own.incarnation == 1 << 16 && bench.node.own.name == "other")
        let told = try bench.run(for: .milliseconds(16)).flatMap { try records([$0.effect], to: 2) }
        #expect(told.contains(.alive(AliveRecord(bench.node.own))))
        _ = bench.handle(.leave)
        metadata.name = "late"
        _ = bench.handle(.metadataChanged(metadata))
        #expect(bench.node.own.name == "other")
    }

    // MARK: Leaving

    @Test func `a node that leaves writes down whom it knows, tells all, and is gone a period later`() throws {
        var bench = try Bench(peers: [2, 3])
        bench.node.startProbe(of: Self.two, for: .challenge, at: bench.now)
        settle(&bench)
        let began = bench.now
        let effects = bench.handle(.leave)
        #expect(effects.contains { if case .persist = $0 { true } else { false } })
        #expect(bench.node.probes.isEmpty && bench.node.own.state == .left)
        let run = bench.run(for: .seconds(3))
        let finished = run.filter { $0.effect == .leaveFinished }.map(\.at)
        #expect(finished == [began + .seconds(1)])
        for peer in [UInt64(2), 3] {
            #expect(try run.contains { try records([$0.effect], to: peer).contains(.claim(bench.node.farewell)) })
        }
        #expect(bench.handle(.exchangeRequested(token: 5, [])) == [.answerExchange(token: 5, nil)])
    }

    @Test func `a node that leaves answers no exchange, and one that never joined is gone at once`() throws {
        var bench = try Bench(peers: [2])
        let state = StateMessage(sender: Self.two, bootID: 10, entries: []).encoded()
        #expect(
            bench.handle(.exchangeRequested(token: 5, state))
                .contains { if case .answerExchange(5, .some) = $0 { true } else { false } })
        _ = bench.handle(.leave)
        #expect(bench.handle(.exchangeRequested(token: 6, state)).contains(.answerExchange(token: 6, nil)))
        var waiting = try Bench(seeds: [Bench.address(9)])
        #expect(waiting.handle(.leave) == [.leaveFinished])
    }

    // MARK: User records

    @Test func `an urgent record is pushed after 15 ms and each 40 ms, another after 250 ms, with its like`() throws {
        for (isUrgent, expected) in [(true, [15, 55, 95, 135]), (false, [250, 290])] as [(Bool, [Int64])] {
            var bench = try Bench(peers: [2, 3])
            _ = bench.run(for: .milliseconds(400))
            settle(&bench)
            bench.node.nextRoundAt = bench.now + .seconds(60)
            bench.node.probes.removeAll()
            let began = bench.now
            _ = bench.handle(.publish([7], isUrgent: isUrgent))
            var pushes: [Int64] = []
            for (at, effect) in bench.run(for: .milliseconds(600)) {
                guard case .send(let bytes, _) = effect else { continue }
                let hasRecord = try Codec.decode(bytes).contains { if case .user = $0 { true } else { false } }
                if hasRecord { pushes.append((at - began).nanoseconds / 1_000_000) }
            }
            #expect(pushes == expected.flatMap { [$0, $0] }, "to two members each time")
        }
    }

    @Test func `a push has no more than 8 datagrams for each of two members`() throws {
        var bench = try Bench(peers: [2, 3, 4])
        for number in 0..<40 {
            _ = bench.handle(.publish([UInt8](repeating: UInt8(number), count: 900), isUrgent: true))
        }
        bench.node.effects.removeAll()
        bench.node.push(at: bench.now)
        var counts: [PeerAddress: Int] = [:]
        for case .send(_, let address) in bench.node.effects { counts[address, default: 0] += 1 }
        #expect(counts.count == 2 && counts.values.allSatisfy { $0 == 8 })
    }

    @Test func `a push that is due is not put off by a later one, and what only rides asks for none`() throws {
        var bench = try Bench(peers: [2])
        settle(&bench)
        _ = bench.handle(.publish([7], isUrgent: true))
        let due = bench.node.nextPushAt
        _ = bench.handle(.publish([8], isUrgent: false))
        #expect(bench.node.nextPushAt == due && due == bench.now + .milliseconds(15))
        settle(&bench)
        var load = load()
        load.platform = 3
        _ = bench.handle(.loadChanged(load))
        #expect(bench.node.nextPushAt == nil && bench.node.dissemination.counts[1] == 1)
        // Numbers of records go on.
        #expect(bench.node.publishedSequence == 2)
    }

    // MARK: Identity

    private static func alive(boot: UInt64, incarnation: UInt32 = 0, at peer: UInt64 = 9) -> AliveRecord {
        AliveRecord(
            id: Bench.id, bootID: boot, incarnation: incarnation,
            metadata: MemberMetadata(name: "own", address: Bench.address(peer)))
    }

    private func wanted(_ effects: [Membership.Effect]) -> [UInt64] {
        effects.compactMap { if case .bootWanted(let above) = $0 { above } else { nil } }
    }

    @Test func `a higher boot of this identity is answered with one higher yet, asked for once`() throws {
        var bench = try Bench(peers: [2])
        #expect(wanted(bench.receive([.alive(Self.alive(boot: 12))], from: 2)) == [12])
        #expect(wanted(bench.receive([.alive(Self.alive(boot: 12))], from: 2)).isEmpty)
        #expect(wanted(bench.receive([.alive(Self.alive(boot: 11))], from: 2)).isEmpty)
        _ = bench.handle(.publish([1], isUrgent: true))
        bench.node.raiseIncarnation(above: 3, at: bench.now)
        settle(&bench)
        #expect(exchanges(bench.handle(.bootTaken(10))) == 0 && bench.node.own.bootID == 10)
        let effects = bench.handle(.bootTaken(13))
        #expect(exchanges(effects) == 1 && bench.node.counters.bootsTaken == 1)
        #expect(bench.node.own.bootID == 13 && bench.node.own.incarnation == 0)
        #expect(bench.node.publishedSequence == 0 && bench.node.bootWantedAbove == nil)
        #expect(bench.node.dissemination.counts[0] == 1)
        // Whoever refutes for this boot has to tell its metadata too.
        settle(&bench)
        bench.node.raiseIncarnation(above: 0, at: bench.now)
        let told = try bench.run(for: .milliseconds(16)).flatMap { try records([$0.effect], to: 2) }
        #expect(told.contains(.alive(AliveRecord(bench.node.own))))
    }

    @Test func `only a record that this process cannot have written is of a twin`() throws {
        var bench = try Bench(peers: [2])
        bench.node.raiseIncarnation(above: 3, at: bench.now)
        #expect(!bench.node.isOfTwin(Self.alive(boot: 10, incarnation: 3)))
        #expect(bench.node.isOfTwin(Self.alive(boot: 10, incarnation: 4)))
        #expect(!bench.node.isOfTwin(Self.alive(boot: 10, incarnation: 4, at: 1)))
        #expect(!bench.node.isOfTwin(Self.alive(boot: 11, incarnation: 4)))
    }

    /// Age in periods, whether the boot is shared, whether the place was taken before, whether the address is lower.
    @Test(
        arguments: [
            (59, true, false, true, .giveUp), (60, true, false, true, .defend), (59, false, true, true, .giveUp),
            (60, false, true, true, .defend), (59, false, false, false, .defend),
        ] as [(Int64, Bool, Bool, Bool, IdentityConflict.Answer)])
    func `a newcomer gives way to whom it copied, anybody else defends itself`(
        age: Int64, sharesBoot: Bool, wasBefore: Bool, isLower: Bool, expected: IdentityConflict.Answer
    ) {
        var twin = IdentityConflict(startedAt: .zero)
        if wasBefore {
            twin.foundBefore(Bench.address(9))
            twin.foundBefore(Bench.address(8))
        }
        let answer = twin.answer(
            to: Bench.address(9), sharesBoot: sharesBoot, ownsLowerAddress: isLower, at: .zero + .seconds(age),
            period: .seconds(1))
        #expect(answer == expected)
    }

    @Test func `two that both defend themselves leave the lower address, within 600 periods`() {
        func answers(_ isLower: Bool, _ seconds: [Int64]) -> [IdentityConflict.Answer] {
            var twin = IdentityConflict(startedAt: .zero)
            return seconds.map { second in
                // Where it was after a defence is the copy's.
                defer { twin.foundBefore(Bench.address(9)) }
                return twin.answer(
                    to: Bench.address(9), sharesBoot: false, ownsLowerAddress: isLower, at: .zero + .seconds(second),
                    period: .seconds(1))
            }
        }
        #expect(answers(true, [10, 20, 100]) == [.defend, .defend, .defend])
        #expect(answers(false, [100, 699]) == [.defend, .giveUp])
        #expect(answers(false, [100, 700, 1_299]) == [.defend, .defend, .giveUp])
    }

    @Test func `the member that keeps the lower address is the one whose address is lower`() throws {
        for (other, givesUp) in [(UInt64(9), false), (0, true)] {
            var bench = try Bench(peers: [2])
            bench.now = bench.now + .seconds(100)
            _ = bench.receive([.alive(Self.alive(boot: 12, at: other))], from: 2)
            _ = bench.handle(.bootTaken(13))
            let effects = bench.receive([.alive(Self.alive(boot: 14, at: other))], from: 2)
            #expect(effects.contains(.notice(.identityGivenUp(Bench.address(other)))) == givesUp)
            #expect(bench.handle(.timer).isEmpty == givesUp)
        }
    }

    @Test func `where others held this identity for before is where its original is`() throws {
        for (before, isNewcomer) in [(UInt64(9), true), (8, false)] {
            var bench = try Bench(peers: [2])
            _ = bench.receive([.alive(Self.alive(boot: 9, at: before))], from: 2)
            let effects = bench.receive([.alive(Self.alive(boot: 12, at: 9))], from: 2)
            #expect(effects.contains(.notice(.identityGivenUp(Bench.address(9)))) == isNewcomer)
        }
    }
}
