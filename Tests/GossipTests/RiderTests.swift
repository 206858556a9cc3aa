import ClusterModel
import Testing

@testable import Gossip

/// News that rides on datagrams and is pushed: how much fits, and what leaves although the token bucket is empty.
struct RiderTests {
    private static let two = PeerID(rawValue: 2)

    private static let draining: LoadRecord = {
        var load = LoadRecord()
        load.flags = .draining
        return load
    }()

    private func sizes(_ effects: [Membership.Effect]) -> [Int] {
        effects.compactMap { if case .send(let bytes, _) = $0 { bytes.count } else { nil } }
    }

    /// A ping of this node's own or an answer to one, with room for as much news as fits.
    private func speak(_ bench: inout Bench, isAnswer: Bool) throws -> [Membership.Effect] {
        bench.node.effects.removeAll()
        if isAnswer {
            let pulse = Pulse(
                number: 7, stateHash: bench.node.table.stateHash, upCount: 2, mapRoot: 0, load: LoadRecord())
            return bench.receive([.ping(pulse)], from: 2)
        }
        bench.node.sendPing(to: try #require(bench.node.table[Self.two]), number: 5)
        return bench.node.effects
    }

    @Test(arguments: [512, 1_200, 1_400], [false, true])
    func `news behind a ping or an answer fills the datagram to its last byte and never goes beyond`(
        limit: Int, isAnswer: Bool
    ) throws {
        var configuration = GossipConfiguration()
        configuration.packetLimit = limit
        let plaintext = limit - configuration.sealOverheadBytes
        for spare in [1, 0, -1] {
            var bench = try Bench(configuration: configuration, peers: [2])
            bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
            let bare = try #require(try sizes(speak(&bench, isAnswer: isAnswer)).first)
            // Two records that leave so many bytes over, or lack one.
            let room = plaintext - bare - spare
            for length in [room / 2, room - room / 2] {
                let empty = Codec.encode(
                    .user(
                        UserRecord(
                            origin: Bench.id, bootID: 10, sequence: 1, bytes: [UInt8](repeating: 7, count: length))))
                let header = empty.count - length
                _ = bench.handle(.publish([UInt8](repeating: 7, count: length - header), isUrgent: true))
            }
            let effects = try speak(&bench, isAnswer: isAnswer)
            let riders = try records(effects, to: 2).count { if case .user = $0 { true } else { false } }
            let sent = try #require(sizes(effects).first)
            #expect(riders == (spare < 0 ? 1 : 2), "\(spare) bytes over")
            #expect(sent <= plaintext && (sent == plaintext - spare) == (spare >= 0), "\(spare) bytes over")
        }
    }

    @Test(
        arguments: [
            ([.refute(two, bootID: 10, incarnation: 1)], true),
            ([Bench.claim(.suspect, 2, by: 3)], true),
            ([Bench.claim(.left, 2, by: 2)], true),
            (
                [
                    .claim(
                        Claim(kind: .dead, subject: two, bootID: 10, incarnation: 0, accuser: two, evidence: .refused))
                ], true
            ),
            ([.alive(Bench.alive(5))], false),
            ([.alive(Bench.alive(2, boot: 11))], false),
            ([.load(two, bootID: 10, draining, age: .zero)], false),
            ([.user(UserRecord(origin: two, bootID: 10, sequence: 1, bytes: [7]))], false),
        ] as [([Record], Bool)])
    func `refutations and claims are passed on without a byte in the bucket, new members, loads and user records not`(
        news: [Record], isPassedOn: Bool
    ) throws {
        for (rate, expected) in [(0, isPassedOn), (64_000, true)] {
            var bench = try Bench(peers: [2, 3, 4])
            bench.node.dissemination = Dissemination(bytesPerSecond: rate, at: bench.now)
            _ = bench.receive(news, from: 3)
            bench.node.effects.removeAll()
            bench.node.push(at: bench.now)
            #expect((sizes(bench.node.effects).count > 0) == expected, "\(rate) bytes a second")
        }
    }

    @Test func `user records that had to go for newer ones are counted and said`() throws {
        var bench = try Bench(peers: [2])
        var said = 0
        for number in 0..<515 {
            for case .notice(.userRecordsDropped(let count)) in bench.handle(.publish([7], isUrgent: false)) {
                #expect(number >= 512)
                said += count
            }
        }
        #expect(said == 3 && bench.node.counters.dropped.userRecords == 3)
    }
}
