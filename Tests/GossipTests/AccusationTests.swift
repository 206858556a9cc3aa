import ClusterModel
import Testing

@testable import Gossip

/// Accusers, confirmers and bystanders: who asks whom, what counts, and when.
struct AccusationTests {
    private static let two = PeerID(rawValue: 2)

    private static func accuse(
        _ subject: UInt64, boot: UInt64 = 10, incarnation: UInt32 = 0, evidence: Suspicion.Evidence = .silence
    ) -> Accusation {
        Accusation(
            subject: PeerID(rawValue: subject), bootID: boot, incarnation: incarnation, evidence: evidence)
    }

    private static func suspect(by accuser: UInt64, _ evidence: Suspicion.Evidence = .silence) -> Record {
        .claim(
            Claim(
                kind: .suspect, subject: two, bootID: 10, incarnation: 0, accuser: PeerID(rawValue: accuser),
                evidence: evidence))
    }

    /// This node's own accusation of member 2, private unless others confirm it.
    private static func accused(
        _ bench: inout Bench, isOwn: Bool = true, evidence: Suspicion.Evidence = .silence, by accuser: PeerID = Bench.id
    ) {
        bench.node.setSuspicion(
            Suspicion(
                incarnation: 0, bootID: 10, accuser: accuser, evidence: evidence, isOwn: isOwn,
                membersUp: bench.node.upCount, damping: 1, at: bench.now), of: two)
    }

    private func suspicion(_ bench: Bench) -> Suspicion? { bench.node.table.suspicions[Self.two] }

    private func looks(_ bench: Bench) -> [Probe] { bench.node.probes.filter { $0.purpose != .scheduled } }

    // MARK: The confirmer

    @Test func `a confirmer clears whom it heard within 0.4 periods, else it looks, with a connection at once`() throws
    {
        for (milliseconds, isCleared) in [(399, true), (400, false)] {
            var bench = try Bench(peers: [2, 3, 4])
            _ = bench.receive([.nack(number: 1)], from: 2)
            _ = bench.run(for: .milliseconds(Int64(milliseconds)))
            let effects = bench.receive([.accuse(Self.accuse(2))], from: 3)
            let said = try records(effects, to: 3)
            #expect(said == (isCleared ? [.clear(subject: Self.two, bootID: 10, incarnation: 0)] : []))
            let connects = effects.contains {
                if case .connect(_, Bench.address(2), Self.two, .milliseconds(450)) = $0 { true } else { false }
            }
            #expect(connects != isCleared && looks(bench).isEmpty == isCleared)
        }
    }

    @Test func `a confirmer says what it knows that the accuser does not, and nothing of another boot`() throws {
        var bench = try Bench(peers: [2, 3, 4])
        _ = bench.receive([.refute(Self.two, bootID: 10, incarnation: 1)], from: 4)
        var said = try records(bench.receive([.accuse(Self.accuse(2))], from: 3), to: 3)
        #expect(said == [.clear(subject: Self.two, bootID: 10, incarnation: 1)])
        said = try records(bench.receive([.accuse(Self.accuse(2, boot: 9, incarnation: 1))], from: 3), to: 3)
        #expect(said.isEmpty && looks(bench).isEmpty)
        said = try records(bench.receive([.accuse(Self.accuse(1))], from: 3), to: 3)
        #expect(said == [.clear(subject: Bench.id, bootID: 10, incarnation: 0)])
        said = try records(bench.receive([.accuse(Self.accuse(2, incarnation: 1))], from: 3), to: 3)
        #expect(said.isEmpty && looks(bench).count == 1)
    }

    @Test func `who is dead here is confirmed, unless the accuser knows an older incarnation`() throws {
        var bench = try Bench(peers: [2, 3, 4])
        _ = bench.receive([.refute(Self.two, bootID: 10, incarnation: 1)], from: 4)
        bench.node.takeDown(
            try #require(bench.node.table[Self.two]),
            by: Claim(.dead, try #require(bench.node.member(Self.two)), by: Bench.id), to: .dead, at: bench.now)
        for (incarnation, isConfirmed) in [(UInt32(0), false), (1, true), (2, true)] {
            let accusation = Self.accuse(2, incarnation: incarnation)
            let said = try records(bench.receive([.accuse(accusation)], from: 3), to: 3)
            #expect(said == (isConfirmed ? [.confirm(accusation)] : []), "\(incarnation)")
        }
    }

    @Test func `an accuser confirms what it saw itself at once, and looks for what it has only heard of`() throws {
        var bench = try Bench(peers: [2, 3, 4])
        Self.accused(&bench)
        var said = try records(bench.receive([.accuse(Self.accuse(2))], from: 3), to: 3)
        #expect(said == [.confirm(Self.accuse(2))] && looks(bench).isEmpty)
        said = try records(bench.receive([.accuse(Self.accuse(2, evidence: .accepted))], from: 3), to: 3)
        #expect(said.isEmpty && looks(bench).count == 1)
        bench = try Bench(peers: [2, 3, 4])
        Self.accused(&bench, isOwn: false, by: PeerID(rawValue: 4))
        said = try records(bench.receive([.accuse(Self.accuse(2))], from: 3), to: 3)
        #expect(said.isEmpty && looks(bench).count == 1)
    }

    @Test(arguments: [nil, .accepted, .refused] as [Membership.ConnectOutcome?])
    func `all who asked hear what the look showed, and the confirmer accuses nobody`(
        outcome: Membership.ConnectOutcome?
    ) throws {
        var bench = try Bench(peers: [2, 3, 4, 5])
        _ = bench.receive([.accuse(Self.accuse(2))], from: 3)
        _ = bench.receive([.accuse(Self.accuse(2))], from: 4)
        let look = try #require(looks(bench).first)
        #expect(look.askers.count == 2 && looks(bench).count == 1)
        let began = bench.now
        if let outcome { _ = bench.handle(.connectFinished(token: UInt64(look.number), outcome)) }
        var confirmed: [PeerAddress: [Accusation]] = [:]
        for (at, effect) in bench.run(for: .milliseconds(450)) {
            guard case .send(let bytes, let address) = effect else { continue }
            for case .confirm(let accusation) in try Codec.decode(bytes) {
                confirmed[address, default: []].append(accusation)
                #expect(at - began == (outcome == .refused ? .milliseconds(250) : .milliseconds(450)))
            }
        }
        let evidence: Suspicion.Evidence = outcome == .refused ? .refused : outcome == .accepted ? .accepted : .silence
        let expected = [Self.accuse(2, evidence: evidence)]
        #expect(confirmed == [Bench.address(3): expected, Bench.address(4): expected])
        #expect(suspicion(bench) == nil)
    }

    @Test func `all who asked hear that the accused answered, and no more than eight are remembered`() throws {
        var bench = try Bench(peers: Array(2...12))
        for peer in UInt64(3)...12 { _ = bench.receive([.accuse(Self.accuse(2))], from: peer) }
        let look = try #require(looks(bench).first)
        let effects = bench.receive([.echo(number: look.number, incarnation: 0, seenAt: nil)], from: 2)
        let told = try (UInt64(3)...12).filter {
            try records(effects, to: $0).contains(.clear(subject: Self.two, bootID: 10, incarnation: 0))
        }
        #expect(told == Array(3...10) && looks(bench).isEmpty)
    }

    // MARK: Confirmations

    @Test func `only a word about this boot and incarnation counts, and only for the accuser`() throws {
        var bench = try Bench(peers: Array(2...8))
        Self.accused(&bench)
        for accusation in [Self.accuse(2, boot: 9), Self.accuse(2, incarnation: 1), Self.accuse(3)] {
            _ = bench.receive([.confirm(accusation)], from: 4)
        }
        #expect(suspicion(bench)?.accusers == [Bench.id] && bench.state(of: 2) == .alive)
        _ = bench.receive([.confirm(Self.accuse(2))], from: 4)
        #expect(suspicion(bench)?.accusers.count == 2 && bench.state(of: 2) == .suspect)
        #expect(bench.node.counters.suspicions == 1)
        _ = bench.receive([.confirm(Self.accuse(2))], from: 5)
        #expect(suspicion(bench)?.accusers.count == 3 && bench.node.counters.suspicions == 1, "reported once")
        bench = try Bench(peers: Array(2...8))
        Self.accused(&bench, isOwn: false, by: PeerID(rawValue: 3))
        _ = bench.receive([.confirm(Self.accuse(2))], from: 4)
        #expect(suspicion(bench)?.accusers == [PeerID(rawValue: 3)])
    }

    @Test func `two refused connections are a death at once, which all hear with its evidence`() throws {
        var bench = try Bench(peers: Array(2...8))
        Self.accused(&bench, evidence: .refused)
        _ = bench.receive([.confirm(Self.accuse(2, evidence: .refused))], from: 4)
        #expect(bench.state(of: 2) == .dead && bench.node.counters.deaths == 1)
        var told: Set<Suspicion.Evidence> = []
        for case .send(let bytes, _) in bench.run(for: .milliseconds(20)).map(\.effect) {
            for case .claim(let claim) in try Codec.decode(bytes) where claim.kind == .dead {
                told.insert(claim.evidence)
            }
        }
        #expect(told == [.refused])
        // Whoever hears it takes it at once.
        var other = try Bench(peers: Array(2...8))
        var claim = Claim(kind: .dead, subject: Self.two, bootID: 10, incarnation: 0, accuser: PeerID(rawValue: 3))
        claim.evidence = .refused
        _ = other.receive([.claim(claim)], from: 3)
        #expect(other.state(of: 2) == .dead)
    }

    @Test func `five are asked, never the accused, and others again after 0.7 periods`() throws {
        var bench = try Bench(peers: Array(2...20))
        var asked: [(at: MonotonicInstant, peer: PeerAddress)] = []
        var subject: PeerID?
        for (at, effect) in bench.run(for: .milliseconds(2_300)) {
            guard case .send(let bytes, let address) = effect else { continue }
            for case .accuse(let accusation) in try Codec.decode(bytes) {
                subject = subject ?? accusation.subject
                if accusation.subject == subject { asked.append((at, address)) }
            }
        }
        let first = try #require(asked.first?.at)
        #expect(asked.filter { $0.at == first }.count == 5)
        let second = asked.filter { $0.at == first + .milliseconds(700) }
        #expect(second.count == 5)
        #expect(Set(asked.prefix(10).map(\.peer)).count == 10, "others than before")
        #expect(!asked.contains { $0.peer == subject.flatMap { bench.node.member($0)?.address } })
    }

    // MARK: Signs of life

    @Test func `a private accusation ends with any sign of life of that boot`() throws {
        var bench = try Bench(peers: Array(2...8))
        Self.accused(&bench)
        _ = bench.receive([.clear(subject: Self.two, bootID: 9, incarnation: 5)], from: 4)
        #expect(suspicion(bench) != nil)
        _ = bench.receive([.clear(subject: Self.two, bootID: 10, incarnation: 0)], from: 4)
        #expect(suspicion(bench) == nil && bench.node.counters.accusationsCleared == 1)
        Self.accused(&bench)
        _ = bench.receive([.nack(number: 1)], from: 2, boot: 11)
        #expect(suspicion(bench) != nil)
        _ = bench.receive([.nack(number: 1)], from: 2)
        #expect(suspicion(bench) == nil && bench.node.counters.accusationsCleared == 2)
    }

    @Test func `a suspect that shows life has a period more for its refutation, and no less than it had`() throws {
        let configuration = GossipConfiguration()
        for (accusers, expected) in [(UInt64(3), 2.5), (1, 10.0)] {
            var bench = try Bench(peers: Array(2...8))
            let began = bench.now
            Self.accused(&bench)
            for accuser in UInt64(3)..<(2 + accusers) { _ = bench.receive([.confirm(Self.accuse(2))], from: accuser) }
            var made = try #require(suspicion(bench))
            made.becomePublic(at: bench.now)
            made.lookEndsAt = bench.now + .seconds(60)
            bench.node.setSuspicion(made, of: Self.two)
            bench.now = bench.now + .milliseconds(1_500)
            bench.node.showedLife(Self.two, bootID: 10, incarnation: 0, at: bench.now)
            let after = try #require(suspicion(bench))
            #expect(abs((after.deadline(configuration, membersUp: 8) - began).inSeconds - expected) < 0.001)
            #expect(after.lookEndsAt == nil && after.isPublic)
            bench.node.showedLife(Self.two, bootID: 10, incarnation: 1, at: bench.now)
            #expect(suspicion(bench) == nil && bench.node.member(Self.two)?.incarnation == 1)
        }
    }

    // MARK: Bystanders

    @Test(arguments: [(.silence, 3_500), (.accepted, 31_500)] as [(Suspicion.Evidence, Int64)])
    func `a bystander looks for itself when a verdict is 1.5 periods late`(
        evidence: Suspicion.Evidence, milliseconds: Int64
    ) throws {
        var bench = try Bench(peers: Array(2...8))
        _ = bench.receive([Self.suspect(by: 3, evidence)], from: 3)
        let known = try #require(suspicion(bench))
        #expect(!known.isOwn && bench.state(of: 2) == .suspect)
        #expect(bench.node.suspicionDueAt(known) == bench.now + .milliseconds(milliseconds))
        #expect((bench.node.member(Self.two)?.condition == .stalled) == (evidence == .accepted))
        var looked: MonotonicInstant?
        let began = bench.now
        while looked == nil, let due = bench.wakeAt, due < began + .seconds(4) {
            bench.now = due
            _ = bench.handle(.timer)
            if bench.node.probes.contains(where: { $0.subject == Self.two && $0.purpose == .challenge }) {
                looked = bench.now
            }
        }
        #expect(looked == (evidence == .silence ? began + .milliseconds(milliseconds) : nil))
    }

    @Test func `a bystander takes an accusation over once its verdict is due, and not before`() throws {
        for (seconds, evidence, isOwn) in [
            (1.9, Suspicion.Evidence.silence, false), (2.0, .silence, true), (9, .accepted, false),
        ] {
            var bench = try Bench(peers: Array(2...8))
            _ = bench.receive([Self.suspect(by: 3, evidence)], from: 3)
            var known = try #require(suspicion(bench))
            known.lookEndsAt = bench.now + .seconds(90)
            bench.node.setSuspicion(known, of: Self.two)
            bench.now = bench.now + .seconds(seconds)
            bench.node.accuse(try #require(bench.node.table[Self.two]), evidence: evidence, at: bench.now)
            let after = try #require(suspicion(bench))
            #expect(after.isOwn == isOwn && after.accusers == [PeerID(rawValue: 3), Bench.id])
            #expect(after.lookEndsAt == nil)
        }
    }

    @Test func `a new accusation of another incarnation has nothing of the one before`() throws {
        var bench = try Bench(peers: Array(2...8))
        Self.accused(&bench, by: PeerID(rawValue: 3))
        var entry = try #require(bench.node.table[Self.two])
        entry.member.incarnation = 1
        bench.node.table.set(entry, at: bench.now)
        bench.node.accuse(entry, evidence: .silence, at: bench.now)
        #expect(suspicion(bench)?.incarnation == 1 && suspicion(bench)?.accusers == [Bench.id])
        #expect(bench.node.counters.accusations == 1)
    }

    @Test func `a member that came back from the dead is damped, one that restarted is not`() throws {
        for restarts in [false, true] {
            var bench = try Bench(peers: Array(2...8))
            bench.node.takeDown(
                try #require(bench.node.table[Self.two]),
                by: Claim(.dead, try #require(bench.node.member(Self.two)), by: Bench.id), to: .dead, at: bench.now)
            let boot: UInt64 = restarts ? 11 : 10
            _ = bench.receive([.alive(Bench.alive(2, boot: boot, incarnation: 1))], from: 3)
            #expect(bench.node.counters.returns == (restarts ? 0 : 1))
            _ = bench.receive([Bench.claim(.suspect, 2, boot: boot, incarnation: 1, by: 3)], from: 3)
            #expect(suspicion(bench)?.damping == (restarts ? 1 : 2))
            bench.node.setSuspicion(nil, of: Self.two)
            bench.node.accuse(try #require(bench.node.table[Self.two]), evidence: .silence, at: bench.now)
            #expect(suspicion(bench)?.damping == (restarts ? 1 : 2))
        }
    }
}
