import ClusterModel
import Testing

@testable import Gossip

/// What a datagram is answered with, by where it came from, and what it says of its sender.
struct AnswerTests {
    private static let two = PeerID(rawValue: 2)
    private static let elsewhere = Bench.address(99)

    private static func ping(_ bench: Bench, hash: UInt64? = nil, mapRoot: UInt32 = 0) -> Record {
        .ping(
            Pulse(
                number: 7, stateHash: hash ?? bench.node.stateHash, upCount: 3, mapRoot: mapRoot, load: LoadRecord()))
    }

    private func settle(_ bench: inout Bench) {
        bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
    }

    private func down(_ bench: inout Bench, _ peer: UInt64, to state: Member.State = .dead) throws {
        let entry = try #require(bench.node.table[PeerID(rawValue: peer)])
        bench.node.takeDown(entry, by: Claim(.dead, entry.member, by: Bench.id), to: state, at: bench.now)
    }

    // MARK: Signs of life

    @Test func `a datagram shows where a member is reached, if it advertises that, and of which boot it is`() throws {
        var bench = try Bench(peers: [3])
        var alive = Bench.alive(2)
        alive.metadata.alternatives = [Bench.address(22)]
        _ = bench.receive([.alive(alive)], from: 3)
        func address() -> PeerAddress? { bench.node.table[Self.two]?.address }
        _ = bench.receive([.nack(number: 1)], from: 2, boot: 11, source: Bench.address(22))
        #expect(address() == Bench.address(2) && bench.node.table[Self.two]?.heardAt == nil)
        _ = bench.receive([.nack(number: 1)], from: 2, source: Bench.address(22))
        #expect(address() == Bench.address(22) && bench.node.table[Self.two]?.heardAt == bench.now)
        _ = bench.receive([.nack(number: 1)], from: 2, source: Self.elsewhere)
        #expect(address() == Bench.address(22))
        _ = bench.receive([.nack(number: 1)], from: 2)
        #expect(address() == Bench.address(2))
        // Pings go to where it was reached last.
        _ = bench.receive([.nack(number: 1)], from: 2, source: Bench.address(22))
        bench.node.effects.removeAll()
        bench.node.startProbe(of: Self.two, for: .challenge, at: bench.now)
        #expect(try records(bench.node.effects, to: 22).contains { if case .ping = $0 { true } else { false } })
    }

    @Test func `a public suspicion does not end with a datagram`() throws {
        var bench = try Bench(peers: [2, 3])
        _ = bench.receive([Bench.claim(.suspect, 2, by: 3)], from: 3)
        _ = bench.receive([.nack(number: 1)], from: 2)
        #expect(bench.state(of: 2) == .suspect && bench.node.table.suspicions.count == 1)
        #expect(bench.node.counters.accusationsCleared == 0)
    }

    @Test func `what no member writes is counted`() throws {
        var bench = try Bench(peers: [2])
        _ = bench.handle(.datagram([1, 2, 3], from: Bench.address(2), sender: Self.two, bootID: 10))
        #expect(bench.node.counters.dropped.malformed == 1)
    }

    @Test func `a datagram under this node's identity is no member's, and one of its boot or a later one is told once`()
        throws
    {
        var bench = try Bench(peers: [2])
        func conflicts(_ boot: UInt64) -> Bool {
            bench.receive([.alive(Bench.alive(50))], from: 1, boot: boot, source: Bench.address(2))
                .contains(.notice(.identityConflict(Bench.address(2))))
        }
        #expect(!conflicts(9) && conflicts(10) && !conflicts(11))
        #expect(bench.node.counters.dropped.ownIdentity == 3 && bench.state(of: 50) == nil)
        bench = try Bench(peers: [2])
        #expect(conflicts(11))
    }

    // MARK: Questions

    @Test(arguments: [(2, 8), (99, 1)] as [(UInt64, Int)])
    func `so many questions of one datagram are answered, by where it came from`(source: UInt64, count: Int) throws {
        var bench = try Bench(peers: [2, 3])
        let flood = Array(repeating: Self.ping(bench), count: 20)
        let effects = bench.receive(flood, from: 2, source: Bench.address(source))
        let answers = effects.count { if case .send = $0 { true } else { false } }
        #expect(answers == count && bench.node.counters.dropped.questions == UInt64(20 - count))
    }

    @Test func `a boot that is not known yet asks as one from elsewhere, wherever it is`() throws {
        var bench = try Bench(peers: [2, 3])
        let relay = Record.indirectProbe(number: 7, subject: PeerID(rawValue: 3))
        _ = bench.receive(Array(repeating: Self.ping(bench), count: 20), from: 2, boot: 11)
        #expect(bench.node.counters.dropped.questions == 19)
        _ = bench.receive([relay], from: 2, boot: 11)
        #expect(bench.node.counters.dropped.relays == 1 && bench.node.relayed.isEmpty)
        _ = bench.receive([relay], from: 2)
        #expect(bench.node.counters.dropped.relays == 1 && !bench.node.relayed.isEmpty)
    }

    /// Bytes of the datagram that asks for a relay from elsewhere.
    @Test(arguments: [(17, false), (18, true)])
    func `a relay from elsewhere answers no more than it was asked with`(bytes: Int, isRelayed: Bool) throws {
        for source in [Self.elsewhere, Bench.address(3)] {
            var bench = try Bench(peers: [2, 3])
            var datagram = Codec.encode([.indirectProbe(number: 7, subject: Self.two)])
            datagram += [200, UInt8(bytes - datagram.count - 2)]
            datagram += [UInt8](repeating: 0, count: bytes - datagram.count)
            _ = bench.handle(.datagram(datagram, from: source, sender: PeerID(rawValue: 3), bootID: 10))
            #expect(bench.node.relayed.isEmpty != (isRelayed || source == Bench.address(3)))
        }
    }

    /// What a ping of 32 bytes and so many more from elsewhere is answered with.
    @Test func `the answer to elsewhere is as long as the question allows`() throws {
        var bench = try Bench(peers: [2, 3])
        func answer(_ more: Int, boot: UInt64 = 10, sender: UInt64 = 2) throws -> Record? {
            var datagram = Codec.encode([Self.ping(bench)])
            if more >= 2 { datagram += [200, UInt8(more - 2)] + [UInt8](repeating: 0, count: more - 2) }
            let effects = bench.handle(
                .datagram(datagram, from: Self.elsewhere, sender: PeerID(rawValue: sender), bootID: boot))
            let said = try records(effects, to: 99)
            #expect(said.count == 1)
            return said.first
        }
        let pulse = bench.node.pulseOfSelf(7)
        let ack = Record.ack(incarnation: 0, pulse, seenAt: Self.elsewhere)
        let length = Codec.encode(ack).count
        let echo = Record.echo(number: 7, incarnation: 0, seenAt: Self.elsewhere)
        #expect(try answer(length - 32) == ack && answer(length - 33) == echo && answer(0) == echo)
        // A stranger is not told where it was seen.
        #expect(try answer(40, sender: 77) == .ack(incarnation: 0, pulse, seenAt: nil))
        #expect(try answer(40, boot: 11) == .ack(incarnation: 0, pulse, seenAt: nil))
        // Nor is who knows.
        var load = LoadRecord()
        load.flags = .addressDoubtful
        load.sequence = 3
        bench.node.table.updateLoad(load, of: Self.two, at: bench.now)
        #expect(try answer(4) == .ack(incarnation: 0, pulse, seenAt: nil))
        #expect(try answer(3) == .echo(number: 7, incarnation: 0, seenAt: nil))
    }

    @Test func `an echo is no longer than a datagram of a few bytes`() throws {
        var bench = try Bench(peers: [2, 3])
        let long = PeerAddress(host: "fd00:1111:2222:3333:4444:5555:6666:7777", port: 65_535)
        let effects = bench.handle(
            .datagram(Codec.encode([Self.ping(bench)]), from: long, sender: Self.two, bootID: 10))
        let said = try effects.flatMap { effect -> [Record] in
            guard case .send(let bytes, long) = effect else { return [] }
            return try Codec.decode(bytes)
        }
        #expect(said == [.echo(number: 7, incarnation: 0, seenAt: nil)])
    }

    // MARK: Answers to members

    @Test func `a member hears what it is held for, whether it asks or is asked`() throws {
        for (state, kind) in [(Member.State.alive, nil), (.suspect, .suspect), (.dead, .dead), (.left, nil)]
            as [(Member.State, Claim.Kind?)]
        {
            var bench = try Bench(peers: [2, 3])
            switch state {
            case .alive: break
            case .suspect: _ = bench.receive([Bench.claim(.suspect, 2, by: 3)], from: 3)
            case .dead, .left: try down(&bench, 2, to: state)
            }
            settle(&bench)
            let answer = try records(bench.receive([Self.ping(bench)], from: 2), to: 2)
            let told = answer.compactMap { if case .claim(let claim) = $0 { claim.kind } else { nil } }
            #expect(told == (kind.map { [$0] } ?? []), "\(state)")
            bench.node.effects.removeAll()
            bench.node.sendPing(to: try #require(bench.node.table[Self.two]), number: 5)
            let asked = try records(bench.node.effects, to: 2)
            #expect(asked.compactMap { if case .claim(let claim) = $0 { claim.kind } else { nil } } == told)
        }
    }

    @Test func `an answer shows this node's own incarnation where the tables differ, and its good-bye while it leaves`()
        throws
    {
        var bench = try Bench(peers: [2, 3])
        #expect(
            try !records(bench.receive([Self.ping(bench, hash: 1)], from: 2), to: 2).contains(
                .refute(Bench.id, bootID: 10, incarnation: 0)))
        bench.node.raiseIncarnation(above: 4, at: bench.now)
        settle(&bench)
        let refutation = Record.refute(Bench.id, bootID: 10, incarnation: 5)
        #expect(try !records(bench.receive([Self.ping(bench)], from: 2), to: 2).contains(refutation))
        #expect(try records(bench.receive([Self.ping(bench, hash: 1)], from: 2), to: 2).contains(refutation))
        #expect(try !records(bench.receive([Self.ping(bench)], from: 2), to: 2).contains(.claim(bench.node.farewell)))
        _ = bench.handle(.leave)
        settle(&bench)
        #expect(try records(bench.receive([Self.ping(bench)], from: 2), to: 2).contains(.claim(bench.node.farewell)))
    }

    @Test func `each member is sent new holdings once, in an answer or a ping`() throws {
        var bench = try Bench(peers: [2, 3])
        #expect(try !records(bench.receive([Self.ping(bench)], from: 2), to: 2).contains(.holdings(Holdings())))
        for isAnswer in [true, false] {
            var holdings = CodecTests.holdings
            holdings.mapSequence = isAnswer ? 1 : 2
            _ = bench.handle(.holdingsChanged(holdings))
            var counts: [Int] = []
            for peer in [UInt64(2), 2, 3] {
                bench.node.effects.removeAll()
                if isAnswer {
                    _ = bench.receive([Self.ping(bench)], from: peer)
                } else {
                    bench.node.sendPing(to: try #require(bench.node.table[PeerID(rawValue: peer)]), number: 5)
                }
                counts.append(try records(bench.node.effects, to: peer).count { $0 == .holdings(holdings) })
            }
            #expect(counts == [1, 0, 1])
            // The same again is nothing new.
            _ = bench.handle(.holdingsChanged(holdings))
            #expect(try !records(bench.receive([Self.ping(bench)], from: 2), to: 2).contains(.holdings(holdings)))
        }
    }

    @Test func `who is told of a later boot of itself asks by stream, and not for its own`() throws {
        for (boot, isAsked) in [(UInt64(9), false), (10, false), (11, true)] {
            var bench = try Bench(peers: [2])
            let effects = bench.receive([.clear(subject: Bench.id, bootID: boot, incarnation: 0)], from: 2)
            #expect(effects.contains { if case .exchange = $0 { true } else { false } } == isAsked)
        }
        var bench = try Bench(peers: [2])
        let effects = bench.receive([.clear(subject: Bench.id, bootID: 11, incarnation: 0)], from: 2, boot: 11)
        #expect(!effects.contains { if case .exchange = $0 { true } else { false } }, "not a stranger's word")
    }

    @Test func `a stranger's map root is not compared`() throws {
        var bench = try Bench(peers: [2])
        bench.now = bench.now + .seconds(3)
        let strange = bench.receive([Self.ping(bench, mapRoot: 5)], from: 2, boot: 11)
        #expect(!strange.contains(.mapRootDiffers(Self.two)))
        #expect(bench.receive([Self.ping(bench, mapRoot: 5)], from: 2).contains(.mapRootDiffers(Self.two)))
        #expect(bench.node.counters.antiEntropy.mapRootDifferences == 1)
    }

    // MARK: Direct records

    @Test func `direct records come from and go to members that are up, of the boot that is known`() throws {
        var bench = try Bench(peers: [2, 3])
        try down(&bench, 3)
        func delivers(_ peer: UInt64, _ boot: UInt64) -> Bool {
            bench.receive([.direct([7])], from: peer, boot: boot).contains(
                .deliverDirect([7], from: PeerID(rawValue: peer)))
        }
        #expect(delivers(2, 10) && !delivers(2, 11) && !delivers(3, 10) && !delivers(4, 10))
        #expect(bench.node.counters.dropped.directs == 3)
        func sends(_ peer: UInt64) -> Bool {
            bench.handle(.sendDirect([7], to: PeerID(rawValue: peer))).contains {
                if case .send = $0 { true } else { false }
            }
        }
        #expect(sends(2) && !sends(3) && !sends(1) && !sends(9))
        #expect(bench.node.counters.dropped.directs == 6)
        _ = bench.handle(.leave)
        #expect(!sends(2))
    }

    @Test func `an address that this node advertises is no news, another makes it doubt its own`() throws {
        var bench = try Bench(peers: [2, 3])
        for peer in [UInt64(2), 3] {
            _ = bench.receive([.echo(number: 1, incarnation: 0, seenAt: Bench.address)], from: peer)
        }
        #expect(!bench.node.own.load.flags.contains(.addressDoubtful))
        for peer in [UInt64(2), 3] {
            _ = bench.receive([.echo(number: 1, incarnation: 0, seenAt: Self.elsewhere)], from: peer)
        }
        #expect(bench.node.own.load.flags.contains(.addressDoubtful))
        // What its caller says of the load does not change that.
        var load = LoadRecord()
        load.flags = [.stalled, .udpBlocked]
        _ = bench.handle(.loadChanged(load))
        #expect(bench.node.own.load.flags == .addressDoubtful)
        // Questions leave room for answers.
        bench.node.effects.removeAll()
        bench.node.sendPing(to: try #require(bench.node.table[Self.two]), number: 5)
        #expect(try records(bench.node.effects, to: 2).contains(.refute(Bench.id, bootID: 10, incarnation: 0)))
    }

    // MARK: Counters

    @Test func `what is sent is counted by what it is for, to the byte`() throws {
        var bench = try Bench(peers: [2, 3])
        settle(&bench)
        func bytes(_ effects: [Membership.Effect]) -> UInt64 {
            effects.reduce(0) { if case .send(let bytes, _) = $1 { $0 + UInt64(bytes.count) } else { $0 } }
        }
        let before = bench.node.report
        let direct = bytes(bench.handle(.sendDirect([7, 7], to: Self.two)))
        let probing = bytes(bench.receive([.indirectProbe(number: 7, subject: PeerID(rawValue: 3))], from: 2))
        let repair = bytes(bench.receive([.want([PeerID(rawValue: 3)])], from: 2))
        let after = bench.node.report
        #expect(direct == UInt64(Codec.encode([.direct([7, 7])]).count) && probing > 0 && repair > 0)
        #expect(after.sentBytes.direct - before.sentBytes.direct == direct)
        #expect(after.sentBytes.probing - before.sentBytes.probing == probing)
        #expect(after.sentBytes.repair - before.sentBytes.repair == repair)
        #expect(after.sent.bytes - before.sent.bytes == direct + probing + repair)
        #expect(after.sent.datagrams - before.sent.datagrams == 3)
        let refuting = bytes(bench.receive([Bench.claim(.suspect, 1, by: 3)], from: 2))
        #expect(bench.node.report.sentBytes.membership - after.sentBytes.membership == refuting && refuting > 0)
    }
}
