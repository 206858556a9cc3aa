import ClusterModel
import Testing

@testable import Gossip

/// Whole states by stream: what is taken of one, what is challenged, and what a node says in its own.
struct MergeTests {
    private static let two = PeerID(rawValue: 2)
    private static let three = PeerID(rawValue: 3)

    private static func entry(
        _ peer: UInt64, _ state: Member.State, boot: UInt64 = 10, incarnation: UInt32 = 0, load: LoadRecord? = nil
    ) -> StateMessage.Entry {
        StateMessage.Entry(
            state: state, alive: Bench.alive(peer, boot: boot, incarnation: incarnation), load: load ?? LoadRecord(),
            loadAge: load == nil ? StateMessage.Entry.ageUnknown : 100, holdings: CodecTests.holdings)
    }

    private static func state(_ entries: [StateMessage.Entry], from sender: PeerID = two) -> [UInt8] {
        StateMessage(sender: sender, bootID: 10, entries: entries).encoded()
    }

    private func sends(_ effects: [Membership.Effect]) throws -> [(to: PeerAddress, records: [Record])] {
        try effects.compactMap { effect in
            guard case .send(let bytes, let address) = effect else { return nil }
            return (address, try Codec.decode(bytes))
        }
    }

    private func answer(_ effects: [Membership.Effect]) throws -> StateMessage? {
        for case .answerExchange(_, let bytes?) in effects { return try StateMessage(decoding: bytes) }
        return nil
    }

    private func kinds(_ effects: [Membership.Effect]) -> [MemberChange.Kind] {
        effects.compactMap { if case .report(let change) = $0 { change.kind } else { nil } }
    }

    private func exchanges(_ effects: [Membership.Effect]) -> [(id: Membership.ExchangeID, to: PeerAddress)] {
        effects.compactMap { if case .exchange(let id, let address, _, _) = $0 { (id, address) } else { nil } }
    }

    private func down(_ bench: inout Bench, _ peer: UInt64, to state: Member.State = .dead) throws {
        let entry = try #require(bench.node.table[PeerID(rawValue: peer)])
        bench.node.takeDown(entry, by: Claim(.dead, entry.member, by: Bench.id), to: state, at: bench.now)
    }

    // MARK: Merging

    @Test func `a state brings members with their loads, and the sender's holdings alone`() throws {
        var bench = try Bench()
        var load = LoadRecord()
        load.running = 3
        load.sequence = 4
        let message = Self.state([Self.entry(2, .alive, load: load), Self.entry(3, .alive, load: load)])
        let effects = bench.handle(.exchangeRequested(token: 1, message))
        #expect(kinds(effects).filter { $0 == .joined }.count == 2)
        for id in [Self.two, Self.three] {
            #expect(bench.node.member(id)?.load.running == 3)
            #expect(bench.node.member(id)?.loadAge(at: bench.now) == .seconds(1))
        }
        #expect(bench.node.member(Self.two)?.holdings == CodecTests.holdings)
        #expect(bench.node.member(Self.three)?.holdings == Holdings())
    }

    @Test func `a newcomer passes nothing on, a member passes on whom it meets`() throws {
        for (peers, count) in [([UInt64](), 0), ([4], 2)] {
            var bench = try Bench(peers: peers)
            bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
            let message = Self.state([Self.entry(2, .alive), Self.entry(3, .alive)])
            _ = bench.handle(.exchangeRequested(token: 1, message))
            #expect(bench.node.dissemination.counts[0] == count)
        }
    }

    /// Here (nil: unknown), there with boot and incarnation, afterwards, and what is reported.
    @Test(
        arguments: [
            (nil, .dead, 10, 0, .dead, []), (nil, .left, 10, 0, .left, []),
            (.alive, .dead, 11, 0, .dead, [.died]), (.alive, .left, 11, 0, .left, [.left]),
            (.dead, .dead, 11, 0, .dead, []), (.alive, .left, 10, 0, .left, [.left]),
            (.alive, .dead, 10, 0, .alive, []), (.alive, .left, 9, 5, .alive, []),
            (.dead, .alive, 10, 0, .dead, []), (.dead, .alive, 10, 1, .alive, [.returned]),
        ] as [(Member.State?, Member.State, UInt64, UInt32, Member.State, [MemberChange.Kind])])
    func `an end that is news is taken, a death is only asked about`(
        here: Member.State?, there: Member.State, boot: UInt64, incarnation: UInt32, after: Member.State,
        reported: [MemberChange.Kind]
    ) throws {
        var bench = try Bench(peers: here == nil ? [2, 4] : [2, 3, 4])
        if here == .dead { try down(&bench, 3) }
        bench.node.effects.removeAll()
        let message = Self.state([Self.entry(2, .alive), Self.entry(3, there, boot: boot, incarnation: incarnation)])
        let effects = bench.handle(.exchangeRequested(token: 1, message))
        #expect(bench.state(of: 3) == after)
        #expect(kinds(effects).filter { $0 != .holdings } == reported)
        if after == .dead || after == .left, here != .dead {
            #expect(bench.node.table[Self.three]?.downSince == bench.now)
        }
        // Told to the member itself: that it is dead there, or here.
        let told = try sends(effects).filter { $0.to == Bench.address(3) }.flatMap(\.records)
        let isAsked =
            (here == .alive && there == .dead && boot == 10) || (here == .dead && there == .alive && after == .dead)
        #expect(told.contains { if case .claim(let claim) = $0 { claim.kind == .dead } else { false } } == isAsked)
        #expect(told.contains { if case .ping = $0 { true } else { false } } == isAsked)
    }

    @Test func `a death of an older boot or incarnation is no challenge`() throws {
        for (boot, incarnation, isChallenged) in [(UInt64(9), UInt32(2), false), (10, 1, false), (10, 2, true)] {
            var bench = try Bench(peers: [2, 4])
            _ = bench.receive([.alive(Bench.alive(3, incarnation: 2))], from: 4)
            let message = Self.state([Self.entry(3, .dead, boot: boot, incarnation: incarnation)])
            let effects = bench.handle(.exchangeRequested(token: 1, message))
            #expect(try sends(effects).contains { $0.to == Bench.address(3) } == isChallenged)
            #expect(bench.node.probes.contains { $0.purpose == .challenge } == isChallenged)
        }
    }

    @Test func `who is dead here and alive there is asked about the boot that died, and no older one`() throws {
        for (boot, incarnation, isAsked) in [(9, 0, false), (9, 7, false), (10, 0, true), (11, 0, false)]
            as [(UInt64, UInt32, Bool)]
        {
            var bench = try Bench(peers: [2, 3])
            try down(&bench, 2)
            let entry = Self.entry(2, .alive, boot: boot, incarnation: incarnation)
            let sent = try sends(bench.handle(.exchangeRequested(token: 1, Self.state([entry], from: Self.three))))
            #expect(sent.map(\.to) == (isAsked ? [Bench.address(2)] : []), "boot \(boot)")
            #expect(sent.allSatisfy { $0.records.first == Bench.claim(.dead, 2, by: 1) })
            #expect(bench.state(of: 2) == (boot == 11 ? .alive : .dead))
        }
    }

    @Test func `one state challenges 1024 members at most`() throws {
        var bench = try Bench(peers: [2])
        let peers = UInt64(1_000)..<2_100
        for peer in peers {
            bench.node.table.set(
                MemberTable.Entry(
                    member: Member(
                        id: PeerID(rawValue: peer), bootID: 10, incarnation: 0, state: .alive,
                        metadata: MemberMetadata(name: "n", address: Bench.address(peer)), load: LoadRecord())),
                at: bench.now)
        }
        let effects = bench.handle(.exchangeRequested(token: 1, Self.state(peers.map { Self.entry($0, .dead) })))
        let told = try sends(effects).filter { $0.records.contains { if case .claim = $0 { true } else { false } } }
        #expect(Set(told.map(\.to)).count == 1_024)
        #expect(bench.node.probes.count == 1_024)
    }

    /// A bench with one member 2 and a table filled up with others that are in `state`, the first down for longest.
    private func full(of state: Member.State) throws -> Bench {
        var bench = try Bench(peers: [2])
        for peer in UInt64(1_000)..<1_000 + 16_382 {
            let member = Member(
                id: PeerID(rawValue: peer), bootID: 10, incarnation: 0, state: state,
                metadata: MemberMetadata(name: "n", address: Bench.address(3)), load: LoadRecord())
            let downSince = state == .left ? bench.now + .milliseconds(Int(peer)) : nil
            bench.node.table.set(MemberTable.Entry(member: member, downSince: downSince), at: bench.now)
        }
        #expect(bench.node.footprint.members == 16_384 && bench.node.table.isFull)
        return bench
    }

    @Test func `a table full of members that are up takes no more, dead or alive, counts them and says so`() throws {
        var bench = try full(of: .alive)
        let effects = bench.receive([.alive(Bench.alive(50))], from: 2)
        #expect(effects.contains(.notice(.tableFull(members: 16_384))))
        _ = bench.handle(.exchangeRequested(token: 1, Self.state([Self.entry(51, .dead)])))
        #expect(bench.node.footprint.members == 16_384 && bench.node.counters.dropped.members == 1)
        bench.node.table.forget(PeerID(rawValue: 1_000), at: bench.now)
        #expect(!bench.node.table.isFull)
        _ = bench.receive([.alive(Bench.alive(50))], from: 2)
        #expect(bench.state(of: 50) == .alive && bench.node.table.isFull)
    }

    @Test func `in a table full of tombstones the oldest gives way to a newcomer`() throws {
        var bench = try full(of: .left)
        _ = bench.receive([.alive(Bench.alive(50))], from: 2)
        #expect(bench.state(of: 50) == .alive && bench.node.table.isFull)
        #expect(bench.state(of: 1_000) == nil && bench.state(of: 1_001) == .left)
        // A tombstone of somebody unknown displaces nobody.
        _ = bench.handle(.exchangeRequested(token: 1, Self.state([Self.entry(51, .dead)])))
        #expect(bench.state(of: 51) == nil && bench.state(of: 1_001) == .left)
        #expect(bench.node.counters.dropped.members == 0)
    }

    @Test func `a tombstone keeps its age from one member to the next, and is forgotten by all at once`() throws {
        var bench = try Bench(peers: [2, 3])
        try down(&bench, 3)
        bench.now = bench.now + .seconds(3_600)
        let told = try #require(try answer(bench.handle(.exchangeRequested(token: 1, Self.state([])))))
        let tombstone = try #require(told.entries.first { $0.alive.id == Self.three })
        #expect(tombstone.downAge == 3_600)
        #expect(told.entries.first { $0.alive.id == Self.two }?.downAge == 0)

        var other = try Bench(peers: [2])
        _ = other.handle(.exchangeRequested(token: 1, Self.state([tombstone])))
        #expect(other.node.table[Self.three]?.downSince == other.now + .seconds(-3_600))
        let lifetime = GossipConfiguration().tombstoneLifetime

        var old = tombstone
        old.downAge = UInt32(lifetime.components.seconds)
        var third = try Bench(peers: [2])
        _ = third.handle(.exchangeRequested(token: 1, Self.state([old])))
        #expect(third.state(of: 3) == nil)
    }

    @Test func `what a state says of this node is refuted, or is its twin`() throws {
        func handled(_ state: Member.State, boot: UInt64) throws -> (Bench, [Membership.Effect]) {
            var bench = try Bench(peers: [2])
            let entry = StateMessage.Entry(
                state: state,
                alive: AliveRecord(
                    id: Bench.id, bootID: boot, incarnation: 0,
                    metadata: MemberMetadata(name: "own", address: Bench.address)),
                load: LoadRecord(), loadAge: StateMessage.Entry.ageUnknown, holdings: Holdings())
            let effects = bench.handle(.exchangeRequested(token: 1, Self.state([entry])))
            return (bench, effects)
        }
        for state in [Member.State.suspect, .dead, .left] {
            #expect(try handled(state, boot: 10).0.node.own.incarnation == 1, "\(state)")
        }
        for state in [Member.State.alive, .suspect, .dead, .left] {
            let wanted = Membership.Effect.bootWanted(above: 11)
            #expect(try handled(state, boot: 11).1.contains(wanted), "\(state)")
            #expect(try handled(state, boot: 9).0.node.own.incarnation == 0)
        }
    }

    // MARK: What a node says

    @Test func `a state begins with its sender, and has all members from a random place on`() throws {
        var bench = try Bench(peers: Array(2...9))
        var second: Set<PeerID> = []
        for _ in 0..<20 {
            let message = try #require(try answer(bench.handle(.exchangeRequested(token: 1, Self.state([])))))
            #expect(message.entries.count == 9 && message.entries[0].alive.id == Bench.id)
            second.insert(message.entries[1].alive.id)
        }
        #expect(second.count > 3)
    }

    @Test func `who asks under an identity that is up hears who had it`() throws {
        for (isDown, expected) in [(false, UInt64(10)), (true, 11)] {
            var bench = try Bench(peers: [2, 3])
            if isDown { try down(&bench, 2) }
            let effects = bench.handle(.exchangeRequested(token: 1, Self.state([Self.entry(2, .alive, boot: 11)])))
            let said = try #require(try answer(effects)).entries.first { $0.alive.id == Self.two }
            #expect(said?.alive.bootID == expected)
        }
    }

    @Test func `what is no state is answered with nothing, and said`() throws {
        var bench = try Bench(peers: [2])
        let effects = bench.handle(.exchangeRequested(token: 1, [9]))
        #expect(effects.contains(.answerExchange(token: 1, nil)))
        #expect(effects.contains { if case .notice(.malformed(nil, _)) = $0 { true } else { false } })
        #expect(bench.node.counters.dropped.malformed == 1)
    }

    // MARK: Joining

    @Test func `a seed that answers with no state has failed, and one that is this node is not told of`() throws {
        var bench = try Bench(seeds: [Bench.address(9)])
        var asked = try #require(exchanges(bench.handle(.join(seeds: [Bench.address(9), Bench.address]))).first)
        #expect(asked.to == Bench.address(9) && bench.node.joining.seeds.count == 1)
        #expect(bench.handle(.exchangeAnswered(asked.id, [9])).contains(.notice(.seedUnreachable(Bench.address(9)))))
        #expect(bench.node.counters.dropped.malformed == 1)
        bench.now = bench.now + .milliseconds(1_100)
        _ = bench.handle(.timer)
        let looked = bench.handle(.seedsResolved([Bench.address(9), Bench.address]))
        #expect(bench.node.joining.seeds.count == 1)
        asked = try #require(exchanges(looked).first)
        let own = Self.state([], from: Bench.id)
        let effects = bench.handle(.exchangeAnswered(asked.id, own))
        #expect(!effects.contains { if case .notice = $0 { true } else { false } })
    }

    @Test func `an exchange with a seed that nobody answers has failed after ten periods`() throws {
        var bench = try Bench(seeds: [Bench.address(9)])
        _ = bench.handle(.join(seeds: [Bench.address(9)]))
        let began = bench.now
        let failed = bench.run(for: .seconds(12)).first { $0.effect == .notice(.seedUnreachable(Bench.address(9))) }
        #expect(failed.map { $0.at - began >= .seconds(10) && $0.at - began < .seconds(11) } == true)
    }

    @Test func `a seed that is a member is not asked, unless it is down`() throws {
        for (isKnown, isDown, isAsked) in [
            (false, false, false), (true, false, false), (false, true, true), (true, true, true),
        ] {
            var bench = try Bench(peers: [2, 3])
            if isDown { try down(&bench, 2) }
            bench.node.joining.replaceSeeds([Bench.address(2)], at: bench.now)
            if isKnown {
                _ = bench.node.joining.answered(Bench.address(2), by: Self.two, at: bench.now + .seconds(-5))
            }
            bench.node.effects.removeAll()
            bench.node.contactSeeds(at: bench.now, isResolved: true)
            #expect(exchanges(bench.node.effects).isEmpty != isAsked, "\(isKnown) \(isDown)")
        }
    }

    @Test func `names that mean nothing now leave the seeds as they are, and end the look`() throws {
        var bench = try Bench(seeds: [Bench.address(9)])
        _ = bench.handle(.join(seeds: [Bench.address(9)]))
        _ = bench.node.joining.wantsLookUp(at: bench.now, hasDue: true, random: &bench.node.random)
        _ = bench.handle(.seedsResolved([]))
        #expect(bench.node.joining.seeds.map(\.address) == [Bench.address(9)])
        let wants = bench.node.joining.wantsLookUp(at: bench.now, hasDue: true, random: &bench.node.random)
        #expect(wants)
    }

    @Test func `remembered members are asked while this node is alone`() throws {
        let snapshot = MemberSnapshot(id: Self.two, name: "n2", address: Bench.address(2))
        for (peers, isAsked) in [([UInt64](), true), ([3], false)] {
            var bench = try Bench(seeds: [Bench.address(9)], remembered: [snapshot])
            for peer in peers {
                bench.node.stage = .running
                _ = bench.receive([.alive(Bench.alive(peer))], from: peer)
            }
            let effects = bench.handle(.join(seeds: []))
            #expect(exchanges(effects).map(\.to) == (isAsked ? [Bench.address(2)] : []))
        }
    }

    // MARK: Rejoin

    @Test func `256 others are written down, the up before the dead, and never who left`() throws {
        var bench = try Bench(peers: [2, 3, 4, 5])
        try down(&bench, 2)
        try down(&bench, 4, to: .left)
        bench.node.effects.removeAll()
        bench.node.persist(at: bench.now)
        #expect(
            bench.node.effects.contains { effect in
                guard case .persist(let members) = effect else { return false }
                return members.map(\.id.rawValue) == [3, 5, 2]
            })
        for peer in UInt64(100)..<400 { _ = bench.receive([.alive(Bench.alive(peer))], from: 3) }
        bench.node.effects.removeAll()
        bench.node.persist(at: bench.now)
        for case .persist(let members) in bench.node.effects { #expect(members.count == 256) }
        #expect(bench.node.persistAllowedAt == bench.now + .seconds(5))
    }

    // MARK: A loop that was late

    @Test func `a loop that was late by more than a quarter of a period is void, and doubts itself`() throws {
        for (late, isVoid) in [(Int64(250), false), (251, true)] {
            var bench = try Bench(peers: [2, 3])
            _ = bench.receive([Bench.claim(.suspect, 2, by: 3)], from: 3)
            bench.node.setSuspicion(
                Suspicion(
                    incarnation: 0, bootID: 10, accuser: Bench.id, evidence: .silence, isOwn: true, membersUp: 3,
                    damping: 1, at: bench.now), of: Self.three)
            bench.node.startProbe(of: Self.three, for: .challenge, at: bench.now)
            _ = bench.receive([.indirectProbe(number: 7, subject: Self.two)], from: 3)
            bench.node.setSuspicion(
                Suspicion(
                    incarnation: 0, bootID: 10, accuser: Bench.id, evidence: .silence, isOwn: true, membersUp: 3,
                    damping: 1, at: bench.now), of: Self.three)
            let due = try #require(bench.wakeAt)
            let probes = bench.node.counters.probes
            bench.now = due + .milliseconds(late)
            _ = bench.handle(.exchangeRequested(token: 1, []))
            #expect(bench.node.probes.isEmpty == isVoid && bench.node.relayed.isEmpty == isVoid)
            #expect((bench.node.table.suspicions[Self.three] == nil) == isVoid, "private ones are dropped")
            #expect(bench.node.table.suspicions[Self.two] != nil && bench.node.counters.probes == probes)
            #expect(bench.node.localHealthScore == (isVoid ? 1 : 0))
            #expect(bench.node.counters.stalls == (isVoid ? 1 : 0))
            #expect((bench.node.nextJudgeAt == bench.now) == isVoid)
        }
    }
}
