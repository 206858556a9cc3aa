import ClusterModel
import Testing

@testable import Gossip

/// Rounds and probes: who is asked by what way, and what an answer counts.
struct ProbeTests {
    private static let two = PeerID(rawValue: 2)

    private func connects(_ effects: [Membership.Effect], to peer: UInt64) -> [Duration] {
        effects.compactMap {
            if case .connect(_, Bench.address(peer), _, let within) = $0 { within } else { nil }
        }
    }

    /// A bench with a probe of member 2 that has just begun.
    private func probing(_ peers: [UInt64] = Array(2...8), purpose: Probe.Purpose = .challenge) throws -> (Bench, Probe)
    {
        var bench = try Bench(peers: peers)
        bench.node.startProbe(of: Self.two, for: purpose, at: bench.now)
        _ = bench.handle(.timer)
        return (bench, try #require(bench.node.probes.first { $0.subject == Self.two }))
    }

    /// Follows the wakes without those of rounds.
    private func advance(_ bench: inout Bench, _ milliseconds: Int64) -> [Membership.Effect] {
        bench.now = bench.now + .milliseconds(milliseconds)
        bench.node.effects.removeAll()
        bench.node.advanceProbes(at: bench.now)
        return bench.node.effects
    }

    private func probe(_ bench: Bench) -> Probe? { bench.node.probes.first { $0.subject == Self.two } }

    // MARK: Stages

    @Test func `a probe asks one relay, then three others, never its subject, and the subject's other addresses`()
        throws
    {
        var bench = try Bench(peers: Array(3...8))
        var alive = Bench.alive(2)
        alive.metadata.alternatives = [Bench.address(22), Bench.address(23)]
        _ = bench.receive([.alive(alive)], from: 3)
        bench.node.startProbe(of: Self.two, for: .challenge, at: bench.now)
        var pinged: [PeerAddress] = []
        var relays: [[PeerAddress]] = []
        for wait in [Int64(100), 150] {
            let effects = advance(&bench, wait)
            var asked: [PeerAddress] = []
            for case .send(let bytes, let address) in effects {
                for record in try Codec.decode(bytes) {
                    if case .ping = record { pinged.append(address) }
                    if case .indirectProbe(_, Self.two) = record { asked.append(address) }
                }
            }
            relays.append(asked)
        }
        #expect(pinged == [Bench.address(22), Bench.address(23)])
        #expect(relays.map(\.count) == [1, 3] && Set(relays.flatMap { $0 }).count == 4)
        #expect(!relays.flatMap { $0 }.contains(Bench.address(2)))
    }

    @Test func `of few members all are relays once, and never the subject`() throws {
        for count in UInt64(3)...4 {
            var (bench, _) = try probing(Array(2...count))
            _ = advance(&bench, 100)
            _ = advance(&bench, 150)
            #expect(probe(bench)?.relays.map(\.rawValue).sorted() == Array(3...count))
        }
    }

    @Test func `a last look and a confirmer's connect at once, others at their third stage and for less time`() throws {
        for (purpose, first, third) in [
            (Probe.Purpose.final, [Duration.milliseconds(450)], [Duration.milliseconds(200)]),
            (.confirmation, [.milliseconds(450)], [.milliseconds(200)]), (.challenge, [], [.milliseconds(200)]),
        ] {
            var bench = try Bench(peers: Array(2...8))
            bench.node.effects.removeAll()
            bench.node.startProbe(of: Self.two, for: purpose, at: bench.now)
            #expect(connects(bench.node.effects, to: 2) == first)
            #expect(connects(advance(&bench, 100), to: 2).isEmpty)
            #expect(connects(advance(&bench, 150), to: 2) == third)
        }
        // One that was accepted is not tried again.
        var (bench, begun) = try probing(purpose: .confirmation)
        _ = bench.handle(.connectFinished(token: UInt64(begun.number), .accepted))
        _ = advance(&bench, 100)
        #expect(connects(advance(&bench, 150), to: 2).isEmpty)
    }

    @Test func `a refused connection ends a probe at its second stage, and at once in its third`() throws {
        var (bench, begun) = try probing(purpose: .confirmation)
        _ = bench.handle(.connectFinished(token: UInt64(begun.number), .refused))
        #expect(probe(bench)?.evidence == .refused)
        _ = advance(&bench, 100)
        #expect(probe(bench) != nil)
        _ = advance(&bench, 150)
        #expect(probe(bench) == nil && bench.node.counters.probesFailed == 1)
        (bench, begun) = try probing()
        _ = advance(&bench, 100)
        _ = advance(&bench, 150)
        _ = bench.handle(.connectFinished(token: UInt64(begun.number), .refused))
        #expect(probe(bench) == nil && bench.node.table.suspicions[Self.two]?.evidence == .refused)
    }

    @Test func `a doubtful node waits longer for its turn's probe and its connection, but not for looks`() throws {
        for (purpose, factor) in [(Probe.Purpose.scheduled, Int64(3)), (.challenge, 1)] {
            var bench = try Bench(peers: Array(2...8))
            for _ in 0..<2 { bench.node.health.wasAccused() }
            bench.node.startProbe(of: Self.two, for: purpose, at: bench.now)
            #expect(advance(&bench, 100 * factor - 1).isEmpty && !advance(&bench, 1).isEmpty)
            let waits = connects(advance(&bench, 150 * factor), to: 2).map(\.inSeconds)
            #expect(waits.count == 1 && waits.allSatisfy { abs($0 - 0.2 * Double(factor)) < 0.001 })
        }
    }

    @Test func `a doubtful node has fewer rounds`() throws {
        var bench = try Bench(peers: Array(2...8))
        let first = try #require(bench.node.nextRoundAt)
        for _ in 0..<3 { bench.node.health.wasAccused() }
        bench.now = first
        bench.node.startRound(at: bench.now)
        #expect(bench.node.nextRoundAt == first + .seconds(4))
    }

    // MARK: Answers

    @Test func `only the subject's word under the probe's number and boot counts, or that of a relay that was asked`()
        throws
    {
        func echo(_ number: UInt32) -> Record { .echo(number: number, incarnation: 0, seenAt: nil) }
        var (bench, begun) = try probing()
        _ = bench.receive([echo(begun.number &+ 1)], from: 2)
        _ = bench.receive([echo(begun.number)], from: 3)
        _ = bench.receive([.vouch(number: begun.number, bootID: 10, incarnation: 0)], from: 3)
        #expect(probe(bench) != nil)
        _ = advance(&bench, 100)
        let relay = try #require(probe(bench)?.relays.first?.rawValue)
        let other = try #require((3...8).first { $0 != relay })
        _ = bench.receive([.vouch(number: begun.number, bootID: 10, incarnation: 0)], from: UInt64(other))
        #expect(probe(bench) != nil && bench.node.counters.probesRelayed == 0)
        bench.node.health.wasAccused()
        _ = bench.receive([.vouch(number: begun.number, bootID: 10, incarnation: 0)], from: relay)
        #expect(probe(bench) == nil && bench.node.counters.probesRelayed == 1)
        #expect(bench.node.localHealthScore == 0)
        // Of another boot it ends the probe and says nothing for the member.
        (bench, begun) = try probing()
        bench.node.health.wasAccused()
        _ = bench.receive([echo(begun.number)], from: 2, boot: 11)
        #expect(probe(bench) == nil && bench.node.localHealthScore == 1)
    }

    @Test func `a probe that fails in silence makes this node doubt itself, unless a relay or the kernel answered`()
        throws
    {
        for (nacks, outcome, isDoubtful) in [
            (0, nil, true), (1, nil, false), (0, .accepted, false),
        ] as [(Int, Membership.ConnectOutcome?, Bool)] {
            var (bench, begun) = try probing()
            _ = advance(&bench, 100)
            for _ in 0..<nacks { _ = bench.receive([.nack(number: begun.number)], from: 3) }
            _ = advance(&bench, 150)
            if let outcome { _ = bench.handle(.connectFinished(token: UInt64(begun.number), outcome)) }
            _ = advance(&bench, 200)
            #expect(probe(bench) == nil && (bench.node.localHealthScore == 1) == isDoubtful)
            #expect(bench.node.counters.probesFailed == 1)
        }
        // Nobody was asked: it says nothing of this node.
        var (bench, _) = try probing([2])
        for wait in [Int64(100), 150, 200] { _ = advance(&bench, wait) }
        #expect(bench.node.localHealthScore == 0 && bench.node.table.suspicions.count == 1)
    }

    @Test
    func `a stream that answers saves the member, which is looked at again; the second time it is reached so only`()
        throws
    {
        var (bench, begun) = try probing()
        _ = bench.handle(.connectFinished(token: UInt64(begun.number), .answered(bootID: 10)))
        #expect(probe(bench) == nil && bench.node.counters.probesByStream == 1)
        #expect(bench.node.member(Self.two)?.condition == .well)
        #expect(bench.node.followUps == [Self.two])
        let round = try #require(bench.node.nextRoundAt)
        bench.now = round
        bench.node.startRound(at: bench.now)
        #expect(bench.node.followUps.isEmpty)
        let again = try #require(bench.node.probes.last { $0.subject == Self.two })
        let effects = bench.handle(.connectFinished(token: UInt64(again.number), .answered(bootID: 10)))
        #expect(bench.node.member(Self.two)?.condition == .udpBlocked && bench.node.followUps.isEmpty)
        #expect(effects.contains { if case .report(let change) = $0 { change.kind == .condition } else { false } })
        // A datagram of it makes it well, and the count begins anew.
        _ = bench.receive([.nack(number: 1)], from: 2)
        #expect(bench.node.member(Self.two)?.condition == .well && bench.node.table[Self.two]?.streamOnly == 0)
    }

    @Test func `four of those that only streams reached are looked at again`() throws {
        var bench = try Bench(peers: Array(2...12))
        bench.node.followUps = (2...12).map { PeerID(rawValue: $0) }
        bench.now = try #require(bench.node.nextRoundAt)
        bench.node.startRound(at: bench.now)
        #expect(bench.node.probes.count == 5 && bench.node.followUps.isEmpty)
    }

    @Test func `a stream that shows another boot is followed by an exchange`() throws {
        var (bench, begun) = try probing()
        let effects = bench.handle(.connectFinished(token: UInt64(begun.number), .answered(bootID: 11)))
        #expect(effects.contains { if case .exchange(_, Bench.address(2), Self.two, _) = $0 { true } else { false } })
        #expect(probe(bench) == nil && bench.node.counters.probesByStream == 0)
    }

    @Test func `three answers by streams alone are a fault of this node, until a datagram is answered`() throws {
        var bench = try Bench(peers: Array(2...8))
        var notices: [Int] = []
        for turn in 1...4 {
            let id = PeerID(rawValue: UInt64(turn) + 1)
            bench.node.startProbe(of: id, for: .challenge, at: bench.now)
            let number = try #require(bench.node.probes.first { $0.subject == id }?.number)
            let effects = bench.handle(.connectFinished(token: UInt64(number), .answered(bootID: 10)))
            if effects.contains(.notice(.datagramsBlocked)) { notices.append(turn) }
            #expect(bench.node.own.load.flags.contains(.udpBlocked) == (turn >= 3))
        }
        #expect(notices == [3])
        // It exchanges with somebody every second round.
        var exchanges = 0
        for _ in 0..<6 {
            bench.now = try #require(bench.node.nextRoundAt)
            bench.node.probes.removeAll()
            bench.node.effects.removeAll()
            bench.node.startRound(at: bench.now)
            exchanges += bench.node.effects.count { if case .exchange = $0 { true } else { false } }
        }
        #expect(exchanges == 3)
        _ = bench.receive([.echo(number: 1, incarnation: 0, seenAt: nil)], from: 3)
        #expect(!bench.node.own.load.flags.contains(.udpBlocked) && bench.node.ownStreamOnly == 0)
    }

    @Test func `a datagram that cannot be sent hurries the next stage, but the last one has its time`() throws {
        var (bench, _) = try probing()
        for stage in [Probe.Stage.relayed, .moreRelayed, .moreRelayed] {
            _ = bench.handle(.sendFailed(to: Bench.address(2)))
            #expect(probe(bench)?.stage == stage && probe(bench)?.isHurried == false)
        }
        #expect(bench.node.counters.dropped.sendsFailed == 3)
    }

    @Test func `a probe of a boot that is over ends without a word`() throws {
        var (bench, _) = try probing()
        bench.node.table.update(Self.two) { $0.member.bootID = 11 }
        _ = advance(&bench, 100)
        #expect(probe(bench) == nil && bench.node.counters.probesFailed == 0)
    }

    // MARK: Verdicts on somebody's word

    @Test(
        arguments: [
            (UInt32(0), nil, Member.State.dead), (1, nil, .alive), (0, .accepted, .alive), (0, .refused, .dead),
        ] as [(UInt32, Membership.ConnectOutcome?, Member.State)])
    func `a look that fails takes a verdict on this incarnation, unless the kernel answered`(
        incarnation: UInt32, outcome: Membership.ConnectOutcome?, after: Member.State
    ) throws {
        var bench = try Bench(peers: Array(2...8))
        _ = bench.receive([Bench.claim(.dead, 2, by: 3)], from: 3)
        let begun = try #require(probe(bench))
        #expect(begun.verdict != nil && begun.purpose == .challenge)
        if incarnation > 0 { bench.node.table.update(Self.two) { $0.member.incarnation = incarnation } }
        _ = advance(&bench, 100)
        _ = advance(&bench, 150)
        if let outcome { _ = bench.handle(.connectFinished(token: UInt64(begun.number), outcome)) }
        _ = advance(&bench, 200)
        #expect(bench.state(of: 2) == after)
    }

    // MARK: Rounds

    /// Suspects, members up, probes of a round.
    @Test(arguments: [(0, 8, 1), (1, 8, 1), (2, 8, 3), (2, 32, 3), (2, 33, 1), (3, 33, 3)])
    func `the living probe more while many are accused`(suspects: Int, up: Int, probes: Int) throws {
        var bench = try Bench(peers: Array(2...UInt64(up)))
        for peer in 0..<suspects {
            bench.node.setSuspicion(
                Suspicion(
                    incarnation: 0, bootID: 10, accuser: Bench.id, evidence: .silence, isOwn: true, membersUp: up,
                    damping: 1, at: bench.now), of: PeerID(rawValue: UInt64(peer) + 2))
        }
        bench.now = try #require(bench.node.nextRoundAt)
        bench.node.startRound(at: bench.now)
        #expect(bench.node.probes.count == probes)
    }

    @Test func `the dead are tried about twice a period by the whole cluster`() throws {
        var bench = try Bench(peers: Array(2...21))
        let dead = PeerID(rawValue: 21)
        bench.node.takeDown(
            try #require(bench.node.table[dead]), by: Claim(.dead, try #require(bench.node.member(dead)), by: Bench.id),
            to: .dead, at: bench.now)
        var tries = 0
        for _ in 0..<1_000 {
            bench.now = try #require(bench.node.nextRoundAt)
            bench.node.probes.removeAll()
            bench.node.effects.removeAll()
            bench.node.startRound(at: bench.now)
            for case .send(_, Bench.address(21)) in bench.node.effects { tries += 1 }
        }
        // 2 of 20 members in each round.
        #expect((60...140).contains(tries), "\(tries)")
    }

    // MARK: Relays

    @Test func `a relay probes for another and says what came of it, once`() throws {
        var bench = try Bench(peers: [2, 3])
        let effects = bench.receive([.indirectProbe(number: 7, subject: Self.two)], from: 3)
        var number: UInt32?
        for case .ping(let pulse) in try records(effects, to: 2) { number = pulse.number }
        let asked = try #require(number)
        _ = bench.receive([.echo(number: asked, incarnation: 4, seenAt: nil)], from: 3)
        #expect(bench.node.relayed.count == 1, "another's answer")
        let told = try records(bench.receive([.echo(number: asked, incarnation: 4, seenAt: nil)], from: 2), to: 3)
        #expect(told == [.vouch(number: 7, bootID: 10, incarnation: 4)] && bench.node.relayed.isEmpty)
        _ = bench.receive([.indirectProbe(number: 8, subject: Self.two)], from: 3)
        var nacks: [MonotonicInstant] = []
        let began = bench.now
        for case (let at, .send(let bytes, Bench.address(3))) in bench.run(for: .milliseconds(400)) {
            for case .nack(8) in try Codec.decode(bytes) { nacks.append(at) }
        }
        #expect(nacks == [began + .milliseconds(150)] && bench.node.relayed.isEmpty)
    }

    @Test func `whom a relay cannot probe it says no to at once: itself, the unknown, and more than 128`() throws {
        var bench = try Bench(peers: [2, 3])
        for subject in [UInt64(1), 99] {
            let said = try records(
                bench.receive([.indirectProbe(number: 7, subject: PeerID(rawValue: subject))], from: 3), to: 3)
            #expect(said == [.nack(number: 7)])
        }
        #expect(bench.node.counters.dropped.relays == 0)
        for number in UInt32(1)...129 {
            let said = try records(bench.receive([.indirectProbe(number: number, subject: Self.two)], from: 3), to: 3)
            #expect(said == (number > 128 ? [.nack(number: number)] : []))
        }
        #expect(bench.node.relayed.count == 128 && bench.node.counters.dropped.relays == 1)
    }

    @Test(arguments: [3, 40]) func `members are picked without repetition, and this node and whom one excludes never`(
        count: Int
    ) throws {
        var bench = try Bench(peers: (2...UInt64(count)).map { $0 })
        let excluded = [Self.two]
        for _ in 0..<300 {
            let picked = bench.node.pickUp(3, excluding: excluded)
            #expect(picked.count == min(3, count - 2) && Set(picked).count == picked.count)
            #expect(!picked.contains(Bench.id) && !picked.contains(Self.two))
        }
    }
}
