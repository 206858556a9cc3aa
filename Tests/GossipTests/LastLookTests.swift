import ClusterModel
import Testing

@testable import Gossip

/// The accuser's looks before its verdict, and the verdicts that others are not to believe.
struct LastLookTests {
    private static let two = PeerID(rawValue: 2)

    /// This node's own accusation of member 2, known to all.
    private func accused(_ evidence: Suspicion.Evidence, by accusers: Int) throws -> Bench {
        var bench = try Bench(peers: Array(2...8))
        var made = Suspicion(
            incarnation: 0, bootID: 10, accuser: Bench.id, evidence: evidence, isOwn: true, membersUp: 8, damping: 1,
            at: bench.now)
        for accuser in 3..<(2 + accusers) { made.confirm(by: PeerID(rawValue: UInt64(accuser)), evidence: evidence) }
        made.becomePublic(at: bench.now)
        bench.node.setSuspicion(made, of: Self.two)
        return bench
    }

    private func suspicion(_ bench: Bench) -> Suspicion? { bench.node.table.suspicions[Self.two] }

    /// A last look that nobody answers; what is sent when it fails.
    private func looksInVain(_ bench: inout Bench, _ outcome: Membership.ConnectOutcome) throws -> [Membership.Effect] {
        bench.node.startProbe(of: Self.two, for: .final, at: bench.now)
        let look = try #require(bench.node.probes.first { $0.purpose == .final })
        _ = bench.handle(.connectFinished(token: UInt64(look.number), outcome))
        for wait in [Int64(100), 150, 200] {
            bench.now = bench.now + .milliseconds(wait)
            bench.node.effects.removeAll()
            bench.node.advanceProbes(at: bench.now)
            if !bench.node.probes.contains(where: { $0.purpose == .final }) { break }
        }
        return bench.node.effects
    }

    private func accusations(_ effects: [Membership.Effect]) throws -> Int {
        var count = 0
        for case .send(let bytes, _) in effects {
            for case .accuse in try Codec.decode(bytes) { count += 1 }
        }
        return count
    }

    @Test func `a stalled suspect is looked at again every three periods`() throws {
        var bench = try accused(.accepted, by: 3)
        let effects = try looksInVain(&bench, .accepted)
        #expect(try accusations(effects) == 0 && bench.state(of: 2) != .dead)
        let known = try #require(suspicion(bench))
        let due = bench.now + .seconds(3)
        #expect(known.evidence == .accepted && bench.node.suspicionDueAt(known) == due)
        bench.node.judge(at: due + .milliseconds(-1))
        #expect(bench.node.probes.allSatisfy { $0.purpose != .final })
        bench.node.judge(at: due)
        #expect(bench.node.probes.contains { $0.purpose == .final })
    }

    @Test func `a stalled suspect whose kernel goes silent has the whole wait anew, and others are asked`() throws {
        var bench = try accused(.accepted, by: 3)
        let effects = try looksInVain(&bench, .silent)
        let known = try #require(suspicion(bench))
        #expect(known.evidence == .silence && known.accusers == [Bench.id] && known.startedAt == bench.now)
        #expect(try accusations(effects) == 5)
    }

    @Test(arguments: [1, 2]) func `a last look that is refused is a verdict at once, if another saw the same`(
        accusers: Int
    ) throws {
        var bench = try accused(.silence, by: accusers)
        let began = bench.now
        _ = try looksInVain(&bench, .refused)
        #expect(bench.now == began + .milliseconds(250))
        #expect((bench.state(of: 2) == .dead) == (accusers == 2))
    }

    @Test func `a bystander that has looked looks again 1.5 periods later`() throws {
        var bench = try Bench(peers: Array(2...8))
        _ = bench.receive([Bench.claim(.suspect, 2, by: 3)], from: 3)
        let first = bench.now + .milliseconds(3_500)
        bench.node.judge(at: first)
        let known = try #require(suspicion(bench))
        #expect(bench.node.suspicionDueAt(known) == first + .milliseconds(1_500))
        #expect(bench.node.nextJudgeAt == first + .milliseconds(1_500))
    }

    @Test func `a node that leaves confirms nothing and gives no verdict`() throws {
        var bench = try accused(.silence, by: 3)
        _ = bench.handle(.leave)
        bench.node.judge(at: bench.now + .seconds(1.5))
        bench.node.judge(at: bench.now + .seconds(60))
        #expect(bench.state(of: 2) != .dead && bench.node.probes.allSatisfy { $0.purpose != .final })
        let accusation = Accusation(try #require(bench.node.member(PeerID(rawValue: 5))), evidence: .silence)
        _ = bench.receive([.accuse(accusation)], from: 3)
        #expect(bench.node.probes.allSatisfy { $0.purpose != .confirmation })
    }

    // MARK: What is not believed

    @Test func `a death of an older incarnation is none, also when the kernel refused`() throws {
        var bench = try Bench(peers: [2, 3])
        _ = bench.receive([.refute(Self.two, bootID: 10, incarnation: 2)], from: 3)
        func died(_ incarnation: UInt32) -> Bool {
            var claim = Claim(
                kind: .dead, subject: Self.two, bootID: 10, incarnation: incarnation, accuser: PeerID(rawValue: 3))
            claim.evidence = .refused
            _ = bench.receive([.claim(claim)], from: 3)
            return bench.state(of: 2) == .dead
        }
        #expect(!died(1) && died(2))
    }

    @Test(arguments: [(.accepted, .silence), (.silence, .accepted)] as [(Suspicion.Evidence, Suspicion.Evidence)])
    func `a verdict on other evidence than the suspicion's is looked into`(
        suspected: Suspicion.Evidence, decided: Suspicion.Evidence
    ) throws {
        var bench = try Bench(peers: Array(2...8))
        _ = bench.run(for: .seconds(1))
        func claim(_ kind: Claim.Kind, _ evidence: Suspicion.Evidence) -> Record {
            .claim(
                Claim(
                    kind: kind, subject: Self.two, bootID: 10, incarnation: 0, accuser: PeerID(rawValue: 3),
                    evidence: evidence))
        }
        _ = bench.receive([claim(.suspect, suspected)], from: 3)
        _ = bench.run(for: .milliseconds(1_050))
        _ = bench.receive([claim(.dead, decided)], from: 3)
        #expect(bench.state(of: 2) == .suspect)
        #expect(bench.node.probes.contains { $0.subject == Self.two && $0.verdict != nil })
        _ = bench.receive([claim(.dead, suspected)], from: 3)
        #expect(bench.state(of: 2) == .dead)
    }

    @Test func `a restart is told as a whole record, also when nothing else changed`() throws {
        var bench = try Bench(peers: [2, 3])
        bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
        _ = bench.receive([.alive(Bench.alive(2, boot: 11))], from: 3)
        var said: [Record] = []
        for case .send(let bytes, _) in bench.run(for: .milliseconds(200)).map(\.effect) {
            said += try Codec.decode(bytes)
        }
        #expect(said.contains(.alive(Bench.alive(2, boot: 11))))
    }

    @Test func `an own accusation that others know of is public`() throws {
        var bench = try Bench(peers: Array(2...8))
        bench.node.accuse(try #require(bench.node.table[Self.two]), evidence: .silence, at: bench.now)
        #expect(bench.state(of: 2) == .alive)
        _ = bench.receive([Bench.claim(.suspect, 2, by: 1)], from: 3)
        #expect(bench.state(of: 2) == .suspect && suspicion(bench)?.isPublic == true)
    }

    // MARK: The table

    @Test func `the state hash tells ids, boots, incarnations and who is up apart, and when it changed`() throws {
        func table(
            _ id: UInt64, boot: UInt64 = 10, incarnation: UInt32 = 0, is state: Member.State = .alive
        )
            -> MemberTable
        {
            var table = MemberTable(at: .zero)
            let record = Bench.alive(id, boot: boot, incarnation: incarnation)
            let member = Member(
                id: record.id, bootID: boot, incarnation: incarnation, state: state, metadata: record.metadata,
                load: LoadRecord())
            table.set(MemberTable.Entry(member: member), at: .zero + .seconds(5))
            return table
        }
        let up = [table(2), table(3), table(2, boot: 11), table(2, incarnation: 1)]
        #expect(Set(up.map(\.stateHash)).count == 4 && up.allSatisfy { $0.changedAt == .zero + .seconds(5) })
        #expect(table(2, is: .suspect).stateHash == up[0].stateHash)
        for state in [Member.State.dead, .left] {
            let down = table(2, is: state)
            #expect(down.stateHash == 0 && down.changedAt == .zero)
        }
    }

    @Test func `who is forgotten leaves room for the next, and no accusation`() throws {
        var bench = try Bench(peers: [2, 3])
        bench.node.accuse(try #require(bench.node.table[Self.two]), evidence: .silence, at: bench.now)
        bench.node.table.forget(Self.two, at: bench.now)
        #expect(bench.node.table.suspicions.isEmpty && bench.node.table.accused.isEmpty)
        _ = bench.receive([.alive(Bench.alive(4))], from: 3)
        #expect(bench.node.table.ids.map(\.rawValue) == [1, 4, 3])
    }

    @Test func `tokens beyond two seconds' worth are not saved up, however often the bucket is filled`() {
        var bucket = TokenBucket(perSecond: 100, at: .zero)
        for second in Int64(1)...4 { bucket.refill(at: .zero + .seconds(second)) }
        let saved = bucket.take(200)
        let more = bucket.take(1)
        #expect(saved && !more)
    }
}
