import ClusterModel
import Testing

@testable import Gossip

/// From an accusation to a verdict, and what a node says to addresses and boots that it cannot trust.
struct VerdictTests {
    private static let two = PeerID(rawValue: 2)

    private func pings(_ effects: [Membership.Effect], to peer: UInt64) throws -> [Pulse] {
        try records(effects, to: peer).compactMap { if case .ping(let pulse) = $0 { pulse } else { nil } }
    }

    private func ack(_ number: UInt32, by bench: Bench) -> Record {
        .ack(
            incarnation: 0,
            Pulse(number: number, stateHash: bench.node.stateHash, upCount: 2, mapRoot: 0, load: LoadRecord()),
            seenAt: nil)
    }

    @Test(arguments: [true, false])
    func `a verdict that comes with its suspicion is looked into, and taken if the look fails`(answers: Bool) throws {
        var bench = try Bench(peers: [2, 3, 4, 5])
        let effects = bench.receive([Bench.claim(.suspect, 2, by: 3), Bench.claim(.dead, 2, by: 3)], from: 3)
        #expect(bench.state(of: 2) == .suspect)
        let ping = try #require(try pings(effects, to: 2).first)
        if answers { _ = bench.receive([ack(ping.number, by: bench)], from: 2) }
        _ = bench.run(for: .milliseconds(440))
        #expect(bench.state(of: 2) == .suspect)
        _ = bench.run(for: .milliseconds(20))
        #expect(bench.state(of: 2) == (answers ? .suspect : .dead))
    }

    @Test(arguments: [true, false])
    func `a verdict that all could expect is taken at once, unless the accused was heard since`(isHeard: Bool) throws {
        var bench = try Bench(peers: [2, 3, 4, 5])
        _ = bench.run(for: .seconds(1))
        _ = bench.receive([Bench.claim(.suspect, 2, by: 3)], from: 3)
        _ = bench.run(for: .milliseconds(1_050))
        if isHeard { _ = bench.receive([.nack(number: 1)], from: 2) }
        _ = bench.receive([Bench.claim(.dead, 2, by: 3)], from: 3)
        #expect(bench.state(of: 2) == (isHeard ? .suspect : .dead))
    }

    @Test(arguments: [true, false])
    func `the accuser looks once more before its verdict, and an answer saves the accused`(answers: Bool) throws {
        var bench = try Bench(peers: [2, 3, 4, 5, 6, 7, 8])
        var accusation: Accusation?
        while accusation == nil, let due = bench.wakeAt {
            bench.now = due
            for case .send(let bytes, _) in bench.handle(.timer) {
                for case .accuse(let made) in try Codec.decode(bytes) { accusation = made }
            }
        }
        let made = try #require(accusation)
        let subject = made.subject.rawValue
        let began = bench.now
        for peer in (2...8).filter({ $0 != subject }).prefix(2) {
            _ = bench.receive([.confirm(made)], from: UInt64(peer))
        }
        #expect(bench.state(of: subject) == .suspect)
        var lookedAfter: Duration?
        while let due = bench.wakeAt, due <= began + .milliseconds(2_050) {
            bench.now = due
            let effects = bench.handle(.timer)
            let isLook = effects.contains { if case .connect(_, _, made.subject, _) = $0 { true } else { false } }
            guard isLook, lookedAfter == nil, due >= began + .milliseconds(1_500) else { continue }
            lookedAfter = due - began
            let ping = try #require(try pings(effects, to: subject).first)
            if answers { _ = bench.receive([ack(ping.number, by: bench)], from: subject) }
        }
        #expect(lookedAfter == .milliseconds(1_500))
        #expect(bench.state(of: subject) == (answers ? .suspect : .dead))
    }

    @Test func `a look that begins late is waited for`() throws {
        var bench = try Bench(peers: [2, 3, 4, 5, 6, 7, 8])
        var suspicion = Suspicion(
            incarnation: 0, bootID: 10, accuser: Bench.id, evidence: .silence, isOwn: true, membersUp: 8, damping: 1,
            at: bench.now)
        suspicion.becomePublic(at: bench.now)
        bench.node.setSuspicion(suspicion, of: Self.two)
        // The confirmations come when the verdict is overdue already.
        _ = bench.run(for: .milliseconds(2_400))
        let accusation = Accusation(try #require(bench.node.member(Self.two)), evidence: .silence)
        for peer in UInt64(3)...4 { _ = bench.receive([.confirm(accusation)], from: peer) }
        _ = bench.run(for: .milliseconds(400))
        #expect(bench.state(of: 2) != .dead)
        _ = bench.run(for: .milliseconds(200))
        #expect(bench.state(of: 2) == .dead)
    }

    @Test func `a stopped process is no silent host for one look, and dead no sooner than a silent one`() throws {
        var suspicion = Suspicion(
            incarnation: 0, bootID: 10, accuser: Bench.id, evidence: .accepted, isOwn: true, membersUp: 8, damping: 1,
            at: .zero)
        for peer in UInt64(3)...5 { suspicion.confirm(by: PeerID(rawValue: peer), evidence: .accepted) }
        suspicion.evidence = .silence
        suspicion.beginAgain(by: Bench.id, at: .zero + .seconds(9))
        #expect(suspicion.accusers == [Bench.id])
        // Alone with its accusation.
        #expect(suspicion.deadline(GossipConfiguration(), membersUp: 8) == .zero + .seconds(9 + 10))
    }

    @Test func `a process behind a copy of itself is told in fewer bytes than it sent, and asks by stream`() throws {
        var bench = try Bench(peers: [2, 3])
        _ = bench.receive([.alive(Bench.alive(2, boot: 11))], from: 3)
        let ping = Codec.encode([
            .ping(Pulse(number: 7, stateHash: 1, upCount: 2, mapRoot: 0, load: LoadRecord()))
        ])
        #expect(ping.count == Codec.pingBytes)
        let effects = bench.handle(.datagram(ping, from: Bench.address(9), sender: Self.two, bootID: 10))
        #expect(try records(effects, to: 9) == [.clear(subject: Self.two, bootID: 11, incarnation: 0)])
        for case .send(let bytes, Bench.address(9)) in effects { #expect(bytes.count <= ping.count) }
        let short = Codec.encode([.nack(number: 1)])
        #expect(
            try records(bench.handle(.datagram(short, from: Bench.address(9), sender: Self.two, bootID: 10)), to: 9)
                == [])
        // The other end.
        let asks = bench.receive([.clear(subject: Bench.id, bootID: 11, incarnation: 0)], from: 3)
        #expect(asks.contains { if case .exchange(_, Bench.address(3), _, _) = $0 { true } else { false } })
    }

    @Test func `an address that nobody advertises gets an echo and no more, also from a node that leaves`() throws {
        var bench = try Bench(peers: [2, 3])
        let ping = Record.ping(Pulse(number: 7, stateHash: 1, upCount: 2, mapRoot: 0, load: LoadRecord()))
        for leaves in [false, true] {
            if leaves { _ = bench.handle(.leave) }
            let effects = bench.handle(
                .datagram(Codec.encode(ping), from: Bench.address(9), sender: Self.two, bootID: 10))
            let said = try records(effects, to: 9)
            #expect(said == [.echo(number: 7, incarnation: 0, seenAt: Bench.address(9))])
        }
    }

    @Test func `what a table has goes to where the asker is advertised, in datagrams that keep the limit`() throws {
        var configuration = GossipConfiguration()
        configuration.packetLimit = GossipConfiguration.packetLimitMin
        var bench = try Bench()
        bench.node = try Membership(
            configuration: configuration, id: Bench.id, bootID: 10,
            metadata: MemberMetadata(name: "own", address: Bench.address), random: SplitMix64(seed: 1), now: bench.now)
        _ = bench.handle(.join(seeds: []))
        for peer in UInt64(2)...12 {
            var alive = Bench.alive(peer)
            alive.metadata.labels = ["disk": String(repeating: "x", count: 40)]
            _ = bench.receive([.alive(alive)], from: peer)
        }
        let want = Codec.encode([.want((2...12).map { PeerID(rawValue: $0) })])
        let effects = bench.handle(.datagram(want, from: Bench.address(99), sender: Self.two, bootID: 10))
        #expect(try records(effects, to: 99).isEmpty)
        #expect(try records(effects, to: 2).count == 11)
        let sizes = effects.compactMap { if case .send(let bytes, _) = $0 { bytes.count } else { nil } }
        #expect(sizes.count > 2 && sizes.allSatisfy { $0 <= configuration.datagramBytesMax })
        // A record that no datagram holds is not sent at all.
        bench.node.gossip(
            .user(
                UserRecord(
                    origin: Bench.id, bootID: 10, sequence: 1, bytes: Array(repeating: 1, count: 600), isUrgent: true)),
            as: .user(Bench.id, 1), at: bench.now)
        for case .send(let bytes, _) in bench.run(for: .milliseconds(200)).map(\.effect) {
            #expect(bytes.count <= configuration.datagramBytesMax)
        }
        #expect(bench.node.counters.dropped.tooLong == 1)
    }
}
