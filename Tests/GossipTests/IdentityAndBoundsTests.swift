import ClusterModel
import Testing

@testable import Gossip

/// One node among peers that the test plays: boots, refutation, self-doubt, and what it may send.
struct IdentityAndBoundsTests {
    private static let own = PeerID(rawValue: 1)

    private struct Peers {
        var node: Membership
        var now = MonotonicInstant(nanoseconds: 5_000_000_000_000)
        var wakeAt: MonotonicInstant?

        init(_ peers: [UInt64], bytesPerSecond: Int = 64_000) throws {
            var configuration = GossipConfiguration()
            configuration.bytesPerSecond = bytesPerSecond
            node = try Membership(
                configuration: configuration, id: own, bootID: 10,
                metadata: MemberMetadata(name: "own", address: Self.address(1)), random: SplitMix64(seed: 1), now: now)
            _ = handle(.join(seeds: []))
            for peer in peers { _ = receive([.alive(Self.alive(peer))], from: peer) }
        }

        static func address(_ peer: UInt64) -> PeerAddress { PeerAddress(host: "10.0.0.\(peer)", port: 1) }

        static func alive(_ peer: UInt64, boot: UInt64 = 10, incarnation: UInt32 = 0) -> AliveRecord {
            AliveRecord(
                id: PeerID(rawValue: peer), bootID: boot, incarnation: incarnation,
                metadata: MemberMetadata(name: "n\(peer)", address: address(peer)))
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

        mutating func wake() -> [Membership.Effect] {
            guard let due = wakeAt else { return [] }
            now = due
            wakeAt = nil
            return handle(.timer)
        }
    }

    private static func claim(_ kind: Claim.Kind, _ subject: UInt64, boot: UInt64, incarnation: UInt32) -> Record {
        .claim(
            Claim(
                kind: kind, subject: PeerID(rawValue: subject), bootID: boot, incarnation: incarnation,
                accuser: PeerID(rawValue: 3)))
    }

    private static func ping(_ node: Membership) -> Record {
        .ping(Pulse(number: 7, stateHash: node.stateHash, upCount: 2, mapRoot: 0, load: LoadRecord()))
    }

    private static func sends(_ effects: [Membership.Effect]) throws -> [(to: PeerAddress, records: [Record])] {
        try effects.compactMap { effect in
            guard case .send(let bytes, let address) = effect else { return nil }
            return (address, try Codec.decode(bytes))
        }
    }

    @Test func `a datagram of an earlier boot is told of the later one, and no more`() throws {
        var peers = try Peers([2, 3])
        #expect(try !Self.sends(peers.receive([Self.ping(peers.node)], from: 2)).isEmpty)
        let answer = try Self.sends(peers.receive([Self.ping(peers.node)], from: 2, boot: 9))
        #expect(answer.map(\.records) == [[.clear(subject: PeerID(rawValue: 2), bootID: 10, incarnation: 0)]])
        #expect(peers.node.counters.dropped.oldBoot == 1)
    }

    @Test func `an accusation of an earlier boot of this node is answered with the boot it has, and no more`() throws {
        var peers = try Peers([2, 3])
        _ = peers.receive([Self.claim(.dead, 1, boot: 9, incarnation: 4)], from: 2)
        #expect(peers.node.own.incarnation == 0 && peers.node.counters.ownRefutations == 0)
        _ = peers.receive([Self.claim(.dead, 1, boot: 11, incarnation: 4)], from: 2)
        #expect(peers.node.own.incarnation == 0)
    }

    @Test func `a refutation changes the state hash`() throws {
        var peers = try Peers([2, 3])
        let before = peers.node.stateHash
        _ = peers.receive([.refute(PeerID(rawValue: 2), bootID: 10, incarnation: 1)], from: 3)
        #expect(peers.node.stateHash != before)
    }

    @Test func `a ping is answered at its source, and at length only where its sender says it is`() throws {
        var peers = try Peers([2, 3])
        let elsewhere = PeerAddress(host: "192.0.2.7", port: 9)
        let answer = try Self.sends(peers.receive([Self.ping(peers.node)], from: 2, source: elsewhere))
        #expect(answer.map(\.to) == [elsewhere])
        #expect(answer.first?.records.count == 1)
        let expected = try Self.sends(peers.receive([Self.ping(peers.node)], from: 2))
        #expect(expected.first?.to == Peers.address(2))
        #expect((expected.first?.records.count ?? 0) > 1)
    }

    /// What datagrams of these plaintexts are on the wire, with headers and seals.
    private static func wireBytes(_ datagrams: [[UInt8]]) -> Int { datagrams.reduce(0) { $0 + $1.count + 72 } }

    @Test func `questions from an address that their sender does not advertise draw no more bytes than they have`()
        throws
    {
        var peers = try Peers([2, 3, 4])
        let elsewhere = PeerAddress(host: "192.0.2.7", port: 9)
        let relay = Record.indirectProbe(number: 1, subject: PeerID(rawValue: 3))
        let subject = AliveRecord(try #require(peers.node.member(PeerID(rawValue: 3)))).bootID
        let accuse = Record.accuse(
            Accusation(subject: PeerID(rawValue: 1), bootID: subject, incarnation: 0, evidence: .silence))
        // 99 is no member: whatever it says its address is, nobody knows.
        for sender: UInt64 in [2, 99] {
            for question in [Self.ping(peers.node), relay, accuse] {
                for count in [1, 8, 20] {
                    let asked = Codec.encode(Array(repeating: question, count: count))
                    var answers: [[UInt8]] = []
                    var effects = peers.handle(
                        .datagram(asked, from: elsewhere, sender: PeerID(rawValue: sender), bootID: 10))
                    // Until relays have given up, too.
                    for _ in 0..<40 {
                        for case .send(let bytes, elsewhere) in effects { answers.append(bytes) }
                        effects = peers.wake()
                    }
                    #expect(
                        Self.wireBytes(answers) <= Self.wireBytes([asked]), "\(sender): \(count) of \(question)")
                    if case .ping = question { #expect(answers.count == 1) }
                }
            }
        }
        #expect(peers.node.counters.dropped.questions > 0)
    }

    @Test func `an echo answers a probe and says where it was seen`() throws {
        var peers = try Peers([2])
        var number: UInt32?
        for _ in 0..<20 where number == nil {
            for (_, records) in try Self.sends(peers.wake()) {
                for case .ping(let pulse) in records { number = pulse.number }
            }
        }
        let asked = try #require(number)
        #expect(!peers.node.probes.isEmpty)
        let seen = PeerAddress(host: "192.0.2.9", port: 5)
        _ = peers.receive([.echo(number: asked, incarnation: 0, seenAt: seen)], from: 2)
        #expect(peers.node.probes.isEmpty)
        // A second witness makes it certain; from then on pings leave room for whole acks.
        let third = peers.receive([.alive(Peers.alive(3))], from: 3)
        #expect(!third.contains(.notice(.advertisedAddressDiffers(seenAt: seen))))
        let doubt = peers.receive([.echo(number: 1, incarnation: 0, seenAt: seen)], from: 3)
        #expect(doubt.contains(.notice(.advertisedAddressDiffers(seenAt: seen))))
        var pings = 0
        for _ in 0..<20 {
            let sent = peers.wake()
            for case .send(let bytes, _) in sent {
                let hasPing = try Codec.decode(bytes).contains { if case .ping = $0 { true } else { false } }
                if hasPing { pings += 1 }
                #expect(!hasPing || bytes.count >= 54)
            }
        }
        #expect(pings > 0)
    }

    @Test func `a process that gave up its identity has left when it is told to`() throws {
        var peers = try Peers([2])
        // Others knew this identity at another address before, and it takes it back.
        let before = AliveRecord(
            id: Self.own, bootID: 9, incarnation: 0, metadata: MemberMetadata(name: "own", address: Peers.address(9)))
        _ = peers.receive([.alive(before)], from: 2)
        var defended = before
        defended.bootID = 11
        let effects = peers.receive([.alive(defended)], from: 2)
        #expect(effects.contains(.notice(.identityGivenUp(Peers.address(9)))))
        #expect(peers.handle(.leave) == [.leaveFinished])
    }

    @Test func `a node that doubts itself waits longer before it accuses`() throws {
        func accusedAfter(doubting: Int) throws -> Duration {
            var peers = try Peers([2, 3, 4])
            for _ in 0..<doubting { peers.node.health.wasAccused() }
            var began: MonotonicInstant?
            for _ in 0..<100 {
                let effects = peers.wake()
                if began == nil, !peers.node.probes.isEmpty { began = peers.now }
                for (_, records) in try Self.sends(effects) {
                    for case .accuse in records { if let began { return peers.now - began } }
                }
            }
            return .zero
        }
        #expect(try accusedAfter(doubting: 0) == .milliseconds(450))
        #expect(try accusedAfter(doubting: 3) == .milliseconds(1_800))
    }

    @Test func `an accused hears of it from the accuser before all others`() throws {
        var peers = try Peers([2, 3, 4])
        _ = peers.node.handle(.timer, at: peers.now)
        var subject: UInt64?
        for _ in 0..<100 where subject == nil {
            for (_, records) in try Self.sends(peers.wake()) {
                for case .accuse(let accusation) in records { subject = accusation.subject.rawValue }
            }
        }
        let accused = try #require(subject)
        let confirmer = try #require([2, 3, 4].first { $0 != accused })
        let accusation = Accusation(
            try #require(peers.node.member(PeerID(rawValue: accused))), evidence: .silence)
        let told = try Self.sends(peers.receive([.confirm(accusation)], from: confirmer))
        let toAccused = told.filter { $0.to == Peers.address(accused) }.flatMap(\.records)
        #expect(toAccused.contains { if case .claim(let claim) = $0 { claim.kind == .suspect } else { false } })
    }

    @Test func `the queue of user records drops the oldest and says so`() throws {
        var peers = try Peers([2])
        var dropped = 0
        for number in 0..<600 {
            for case .notice(.userRecordsDropped(let count)) in peers.handle(
                .publish([UInt8(truncatingIfNeeded: number)], isUrgent: true))
            { dropped += count }
        }
        #expect(dropped == 600 - Dissemination.userItemsMax)
        #expect(peers.node.footprint.userNews == Dissemination.userItemsMax)
    }

    @Test func `a token bucket gives no more than it has, and two seconds of savings`() {
        var bucket = TokenBucket(perSecond: 100, at: .zero)
        let first = bucket.take(200)
        let tooMuch = bucket.take(1)
        #expect(first && !tooMuch)
        bucket.refill(at: .zero + .seconds(100))
        let saved = bucket.take(200)
        let more = bucket.take(1)
        #expect(saved && !more)
    }

    @Test func `what is not urgent is told four times and then left to repair`() throws {
        var peers = try Peers([2, 3, 4, 5])
        for _ in 0..<40 { _ = peers.wake() }
        func copies(isUrgent: Bool) throws -> Int {
            var count = 0
            var effects = peers.handle(.publish([9], isUrgent: isUrgent))
            for _ in 0..<60 {
                for (_, records) in try Self.sends(effects) { for case .user in records { count += 1 } }
                effects = peers.wake()
            }
            return count
        }
        #expect(try copies(isUrgent: false) == 4)
        #expect(try copies(isUrgent: true) > 8)
    }
}
