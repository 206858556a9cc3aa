import ClusterModel
import Testing

@testable import Gossip

/// One node under test, its peers played by the test.
struct Bench {
    static let id = PeerID(rawValue: 1)
    static let address = PeerAddress(host: "10.0.0.1", port: 1)
    let period = Duration.seconds(1)
    var now = MonotonicInstant(nanoseconds: 5_000_000_000_000)
    var node: Membership
    var wakeAt: MonotonicInstant?

    init(
        configuration: GossipConfiguration = GossipConfiguration(), peers: [UInt64] = [], seeds: [PeerAddress] = [],
        remembered: [MemberSnapshot] = []
    ) throws {
        node = try Membership(
            configuration: configuration, id: Self.id, bootID: 10,
            metadata: MemberMetadata(name: "own", address: Self.address, slots: 2), remembered: remembered,
            random: SplitMix64(seed: 1), now: now)
        if seeds.isEmpty { _ = handle(.join(seeds: [])) }
        for peer in peers { _ = receive([.alive(Self.alive(peer))], from: peer) }
    }

    static func address(_ peer: UInt64) -> PeerAddress { PeerAddress(host: "10.0.0.\(peer)", port: 1) }

    static func alive(_ peer: UInt64, boot: UInt64 = 10, incarnation: UInt32 = 0) -> AliveRecord {
        AliveRecord(
            id: PeerID(rawValue: peer), bootID: boot, incarnation: incarnation,
            metadata: MemberMetadata(name: "n\(peer)", address: address(peer)))
    }

    static func claim(
        _ kind: Claim.Kind, _ subject: UInt64, boot: UInt64 = 10, incarnation: UInt32 = 0, by accuser: UInt64 = 99
    ) -> Record {
        .claim(
            Claim(
                kind: kind, subject: PeerID(rawValue: subject), bootID: boot, incarnation: incarnation,
                accuser: PeerID(rawValue: accuser)))
    }

    mutating func handle(_ event: Membership.Event) -> [Membership.Effect] {
        let effects = node.handle(event, at: now)
        for case .wake(let instant) in effects { wakeAt = instant }
        return effects
    }

    mutating func receive(
        _ records: [Record], from peer: UInt64, boot: UInt64 = 10, source: PeerAddress? = nil
    ) -> [Membership.Effect] {
        handle(
            .datagram(
                Codec.encode(records), from: source ?? Self.address(peer), sender: PeerID(rawValue: peer),
                bootID: boot))
    }

    /// Follows the wakes until `duration` has passed; the effects with their instants.
    mutating func run(for duration: Duration) -> [(at: MonotonicInstant, effect: Membership.Effect)] {
        let end = now + duration
        var seen: [(MonotonicInstant, Membership.Effect)] = []
        while let due = wakeAt, due <= end {
            now = due
            wakeAt = nil
            seen += handle(.timer).map { (now, $0) }
        }
        now = end
        return seen
    }

    func state(of peer: UInt64) -> Member.State? { node.member(PeerID(rawValue: peer))?.state }
}

/// The records that went to `peer`.
func records(_ effects: [Membership.Effect], to peer: UInt64) throws -> [Record] {
    try effects.flatMap { effect -> [Record] in
        guard case .send(let bytes, Bench.address(peer)) = effect else { return [] }
        return try Codec.decode(bytes)
    }
}

struct MembershipTests {
    @Test func `a node alone asks for its first round and nothing else`() throws {
        var bench = try Bench(seeds: [Bench.address(9)])
        let effects = bench.handle(.join(seeds: []))
        let first = try #require(bench.wakeAt)
        #expect(effects == [.wake(at: first)])
        #expect(first > bench.now && first - bench.now <= bench.period)
    }

    @Test func `a seed is asked at once, again after a failure, and reported once`() throws {
        var bench = try Bench(seeds: [Bench.address(9)])
        var asked: [MonotonicInstant] = []
        var notices: [GossipNotice] = []
        var effects = bench.handle(.join(seeds: [Bench.address(9)])).map { (bench.now, $0) }
        for _ in 0..<6 {
            for case (let at, .exchange(let id, let address, nil, _)) in effects {
                #expect(address == Bench.address(9))
                asked.append(at)
                for case .notice(let notice) in bench.handle(.exchangeFailed(id)) { notices.append(notice) }
            }
            effects = []
            while effects.isEmpty, let due = bench.wakeAt {
                bench.now = due
                for effect in bench.handle(.timer) where effect == .lookUpSeeds {
                    // Names are looked up before each try.
                    effects = bench.handle(.seedsResolved([Bench.address(9)])).map { (bench.now, $0) }
                }
            }
        }
        let waits = zip(asked.dropFirst(), asked).map { ($0 - $1).inSeconds }
        for (wait, expected) in zip(waits, [1.0, 2, 4, 8, 16]) { #expect(abs(wait - expected) <= expected * 0.11) }
        #expect(notices == [.seedUnreachable(Bench.address(9))])
    }

    @Test func `a ping is answered to its source under its number, once`() throws {
        var bench = try Bench(peers: [2])
        let ping = Record.ping(
            Pulse(number: 77, stateHash: bench.node.stateHash, upCount: 2, mapRoot: 0, load: LoadRecord()))
        let answer = try records(bench.receive([ping], from: 2), to: 2)
        let acks = answer.filter { if case .ack(0, let pulse, nil) = $0 { pulse.number == 77 } else { false } }
        #expect(acks.count == 1)
    }

    @Test func `a datagram full of questions causes a bounded number of answers`() throws {
        var bench = try Bench(peers: [2, 3])
        let flood = Array(repeating: Record.indirectProbe(number: 1, subject: PeerID(rawValue: 3)), count: 60)
        let sends = bench.receive(flood, from: 2).filter { if case .send = $0 { true } else { false } }
        #expect(sends.count == Codec.questionsMax)
    }

    @Test func `a silent member is pinged 3 times, probed through 4 relays and a connection, and accused in private`()
        throws
    {
        var bench = try Bench(peers: [2, 3, 4, 5, 6, 7])
        var target: UInt64?
        var seen = (pings: 0, relays: Set<UInt64>(), connections: 0, accusations: Set<UInt64>())
        var accusedAfter: Duration?
        var began = bench.now
        for (at, effect) in bench.run(for: .milliseconds(1_700)) where accusedAfter.map({ $0 >= at - began }) ?? true {
            if case .report(let change) = effect { #expect(change.kind != .suspected) }
            if case .connect(_, _, let peer, _) = effect, peer.rawValue == target { seen.connections += 1 }
            guard case .send(let bytes, let address) = effect else { continue }
            let peer = try #require((2...7).first { Bench.address($0) == address })
            for record in try Codec.decode(bytes) {
                if case .ping = record, target == nil { (target, began) = (peer, at) }
                if case .ping = record, peer == target { seen.pings += 1 }
                if case .indirectProbe(_, let subject) = record, subject.rawValue == target { seen.relays.insert(peer) }
                if case .accuse(let accusation) = record, accusation.subject.rawValue == target {
                    seen.accusations.insert(peer)
                    accusedAfter = at - began
                }
            }
        }
        #expect(seen.pings == 3 && seen.relays.count == 4 && seen.connections == 1)
        #expect(accusedAfter == .milliseconds(450) && seen.accusations.count >= 4)
        // No relay said a word: perhaps it is this node.
        #expect(bench.node.localHealthScore > 0)
    }

    @Test func `a vouch of a relay saves the subject`() throws {
        var bench = try Bench(peers: [2, 3])
        var reports: [MemberChange] = []
        let end = bench.now + .seconds(5)
        while bench.now < end, let due = bench.wakeAt {
            bench.now = due
            for effect in bench.handle(.timer) {
                if case .report(let change) = effect { reports.append(change) }
                guard case .send(let bytes, let address) = effect,
                    let relay = [2, 3].first(where: { Bench.address($0) == address })
                else { continue }
                for case .indirectProbe(let number, _) in try Codec.decode(bytes) {
                    _ = bench.receive([.vouch(number: number, bootID: 10, incarnation: 0)], from: relay)
                }
            }
        }
        #expect(reports.isEmpty)
    }

    @Test(arguments: [Claim.Kind.suspect, .dead])
    func `an accused node raises its incarnation and says so`(kind: Claim.Kind) throws {
        var bench = try Bench(peers: [2])
        _ = bench.receive([Bench.claim(kind, 1, incarnation: 4)], from: 2)
        #expect(bench.node.own.incarnation == 5)
        let said = try records(bench.run(for: .milliseconds(20)).map(\.effect), to: 2)
        #expect(said.contains(AliveRecord(bench.node.own).refutation))
        // An old accusation changes nothing more.
        _ = bench.receive([Bench.claim(kind, 1, incarnation: 4)], from: 2)
        #expect(bench.node.own.incarnation == 5)
    }

    /// State, then record, then state.
    ///
    /// Boot 10, incarnation 1 at first.
    @Test(arguments: [
        (Member.State.alive, Bench.claim(.suspect, 2, incarnation: 0), Member.State.alive),
        (.alive, Bench.claim(.suspect, 2, incarnation: 1), .suspect),
        (.alive, Bench.claim(.dead, 2, incarnation: 1), .alive),
        (.alive, Bench.claim(.dead, 2, incarnation: 0), .alive),
        (.alive, Bench.claim(.dead, 2, boot: 9, incarnation: 9), .alive),
        (.suspect, .alive(Bench.alive(2, incarnation: 1)), .suspect),
        (.suspect, .alive(Bench.alive(2, incarnation: 2)), .alive),
        (.suspect, Bench.claim(.dead, 2, incarnation: 1), .dead),
        (.dead, .alive(Bench.alive(2, incarnation: 1)), .dead),
        (.dead, .alive(Bench.alive(2, incarnation: 2)), .alive),
        (.dead, Bench.claim(.suspect, 2, incarnation: 5), .dead),
        (.dead, Bench.claim(.left, 2, incarnation: 1), .left),
        (.left, .alive(Bench.alive(2, incarnation: 9)), .left),
        (.left, Bench.claim(.dead, 2, incarnation: 9), .left),
        (.left, .alive(Bench.alive(2, boot: 11)), .alive),
        (.dead, .alive(Bench.alive(2, boot: 11)), .alive),
        (.alive, .alive(Bench.alive(2, boot: 9, incarnation: 9)), .alive),
        (.alive, Bench.claim(.suspect, 2, boot: 9, incarnation: 9), .alive),
        (.alive, Bench.claim(.left, 2, boot: 9, incarnation: 9), .alive),
        (.suspect, Bench.claim(.dead, 2, boot: 9, incarnation: 9), .suspect),
    ])
    func `records change states by incarnation and boot`(
        before: Member.State, record: Record, after: Member.State
    ) throws {
        var bench = try Bench(peers: [3])
        _ = bench.receive([.alive(Bench.alive(2, incarnation: 1))], from: 3)
        switch before {
        case .alive: break
        case .suspect, .dead:
            _ = bench.receive([Bench.claim(.suspect, 2, incarnation: 1)], from: 3)
            _ = bench.run(for: bench.period * ProbeTiming.verdictAfter)
            if before == .dead { _ = bench.receive([Bench.claim(.dead, 2, incarnation: 1)], from: 3) }
        case .left: _ = bench.receive([Bench.claim(.left, 2, incarnation: 1)], from: 3)
        }
        #expect(bench.state(of: 2) == before)
        _ = bench.receive([record], from: 3)
        #expect(bench.state(of: 2) == after)
    }

    @Test func `a node whose own loop was late voids its probes and gives suspects the time back`() throws {
        var bench = try Bench(peers: [2, 3])
        while !bench.node.probes.contains(where: { $0.purpose == .scheduled }), let due = bench.wakeAt {
            bench.now = due
            _ = bench.handle(.timer)
        }
        _ = bench.receive([Bench.claim(.suspect, 2)], from: 3)
        let before = try #require(bench.node.table.suspicions[PeerID(rawValue: 2)]).startedAt
        bench.now = bench.now + .seconds(3)
        let effects = bench.handle(.timer)
        guard case .notice(.loopWasLate(let late)) = effects.first else { return #expect(Bool(false), "\(effects)") }
        #expect(late > .seconds(2))
        #expect(bench.node.table.suspicions[PeerID(rawValue: 2)]?.startedAt == before + late)
        // The rest of what waited in the socket is not late once more.
        let next = bench.receive([.nack(number: 1)], from: 3)
        #expect(!next.contains { if case .notice = $0 { true } else { false } })
        #expect(bench.state(of: 3) == .alive)
    }

    @Test func `what no member writes is reported and changes nothing`() throws {
        var bench = try Bench(peers: [2])
        let hash = bench.node.stateHash
        let effects = bench.handle(
            .datagram([1, 2, 3], from: Bench.address(2), sender: PeerID(rawValue: 2), bootID: 10))
        #expect(effects == [.notice(.malformed(from: Bench.address(2), .truncated))])
        #expect(bench.node.stateHash == hash)
    }

    @Test func `the same identity with a higher boot id is reported once`() throws {
        var bench = try Bench(peers: [2])
        let first = bench.receive([.alive(Bench.alive(1, boot: 11))], from: 2)
        #expect(first.contains(.notice(.identityConflict(Bench.address(1)))))
        let second = bench.receive([.alive(Bench.alive(1, boot: 11))], from: 2)
        #expect(!second.contains(.notice(.identityConflict(Bench.address(1)))))
    }

    @Test func `a user record is delivered once and only from a known member`() throws {
        var bench = try Bench(peers: [2, 3])
        let record = Record.user(UserRecord(origin: PeerID(rawValue: 2), bootID: 10, sequence: 1, bytes: [7]))
        let stranger = Record.user(UserRecord(origin: PeerID(rawValue: 8), bootID: 10, sequence: 1, bytes: [7]))
        let deliver = Membership.Effect.deliver([7], from: PeerID(rawValue: 2))
        #expect(
            bench.receive([record, stranger], from: 3).filter { if case .deliver = $0 { true } else { false } } == [
                deliver
            ])
        #expect(!bench.receive([record], from: 2).contains(deliver))
    }

    @Test func `a node alone leaves at once`() throws {
        var bench = try Bench()
        _ = bench.handle(.leave)
        #expect(bench.run(for: .milliseconds(1)).map(\.effect).contains(.leaveFinished))
        #expect(bench.handle(.timer).isEmpty)
    }

    @Test func `a snapshot holds the others and is written at most once per interval`() throws {
        var bench = try Bench(peers: [2])
        var written: [(MonotonicInstant, [MemberSnapshot])] = []
        for case (let at, .persist(let members)) in bench.run(for: .milliseconds(500)) { written.append((at, members)) }
        _ = bench.receive([.alive(Bench.alive(3))], from: 2)
        for case (let at, .persist(let members)) in bench.run(for: .seconds(6)) { written.append((at, members)) }
        #expect(written.map { $0.1.map(\.id.rawValue).sorted() } == [[2], [2, 3]])
        #expect(written[1].0 - written[0].0 >= .seconds(5))
    }

    @Test func `a configuration out of range names its key`() {
        var configuration = GossipConfiguration()
        configuration.packetLimit = 511
        #expect(throws: GossipConfigurationError.outOfRange(key: "packetLimit", value: "511", allowed: "512...65507")) {
            try Membership(
                configuration: configuration, id: Bench.id, bootID: 1,
                metadata: MemberMetadata(name: "a", address: Bench.address), random: SplitMix64(seed: 1), now: .zero)
        }
    }
}

struct SuspicionTests {
    private static func suspicion(
        membersUp: Int, accusers: Int, evidence: Suspicion.Evidence, damping: Double = 1
    ) -> Suspicion {
        var suspicion = Suspicion(
            incarnation: 0, bootID: 1, accuser: PeerID(rawValue: 0), evidence: evidence, isOwn: true,
            membersUp: membersUp, damping: damping, at: .zero)
        for accuser in 1..<max(2, accusers) where accuser < accusers {
            suspicion.confirm(by: PeerID(rawValue: UInt64(accuser)), evidence: evidence)
        }
        return suspicion
    }

    /// Members up, accusers, evidence, periods until the verdict.
    @Test(
        arguments: [
            (2, 1, .silence, 2.0), (3, 1, .silence, 6), (3, 2, .silence, 2), (64, 1, .silence, 16),
            (64, 3, .silence, 2),
            (64, 1, .refused, 16), (64, 2, .refused, 0), (2, 1, .refused, 0), (64, 4, .accepted, 30),
        ] as [(Int, Int, Suspicion.Evidence, Double)])
    func `accusers and evidence decide how long a suspect has`(
        membersUp: Int, accusers: Int, evidence: Suspicion.Evidence, periods: Double
    ) {
        let suspicion = Self.suspicion(membersUp: membersUp, accusers: accusers, evidence: evidence)
        let wait = (suspicion.deadline(GossipConfiguration(), membersUp: membersUp) - .zero).inSeconds
        #expect(abs(wait - periods) < 0.001)
    }

    @Test func `an accuser counts once, and one is not enough for all to hear`() {
        var suspicion = Self.suspicion(membersUp: 9, accusers: 1, evidence: .silence)
        suspicion.confirm(by: PeerID(rawValue: 0), evidence: .silence)
        #expect(suspicion.accusers.count == 1 && !suspicion.isReadyForAll)
        suspicion.confirm(by: PeerID(rawValue: 1), evidence: .silence)
        #expect(suspicion.accusers.count == 2 && suspicion.isReadyForAll)
    }

    @Test func `a member that came back from the dead has longer, for ten minutes`() {
        var returns = Returns()
        #expect(returns.factor(at: .zero) == 1)
        let factors = (0..<5).map { _ in
            returns.note(at: .zero)
            return returns.factor(at: .zero)
        }
        #expect(factors == [2, 4, 8, 8, 8])
        #expect(returns.factor(at: .zero + .seconds(601)) == 1)
    }
}

struct ProbeScheduleTests {
    @Test(arguments: [2, 3, 8, 33])
    func `each member is probed once per round and each pair meets in n - 1 rounds`(count: Int) {
        let members = (0..<count).map { PeerID(rawValue: UInt64($0) * 7) }
        var pairs: Set<[PeerID]> = []
        for round in Int64(-5)..<Int64(count - 6) {
            let targets = members.compactMap { ProbeSchedule.target(inRound: round, among: members, own: $0) }
            #expect(Set(targets).count == count)
            for (own, target) in zip(members, targets) {
                #expect(own != target)
                pairs.insert([own, target])
            }
        }
        #expect(pairs.count == count * (count - 1))
    }

    @Test func `rounds begin where they end`() {
        let schedule = ProbeSchedule(
            period: .seconds(1), wallClockOffset: .milliseconds(1_700), id: PeerID(rawValue: 3))
        for offset in stride(from: Int64(-3_000), to: 3_000, by: 37) {
            let now = MonotonicInstant(nanoseconds: offset * 1_000_000)
            let round = schedule.round(at: now)
            #expect(schedule.start(ofRound: round) <= now && now < schedule.start(ofRound: round + 1))
        }
    }
}
