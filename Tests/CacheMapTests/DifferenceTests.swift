import ClusterModel
import Testing

@testable import CacheMap

extension [MapExchange.Effect] {
    fileprivate var fetches: [[UInt8]] {
        compactMap { if case .fetch(_, _, let bytes) = $0 { bytes } else { nil } }
    }
}

/// How nodes find out that they know different things, and how often they look.
struct DifferenceTests {
    private let one = PeerID(rawValue: 1)

    private func join(_ exchange: inout MapExchange, _ ids: ClosedRange<UInt64>) {
        for id in ids {
            _ = exchange.handle(
                .member(PeerID(rawValue: id), isLive: true, bootID: 1, clusterSize: ids.count + 1), at: start)
        }
    }

    @Test func `differing roots are looked into each quarter of a period, by stream when they last two periods`() throws
    {
        var exchange = try mapExchange(keys: 0..<10)
        join(&exchange, 1...1)
        let request = DigestMessage.summaryRequest.encoded()
        func differs(_ milliseconds: Int64) -> (asks: Int, streams: Int) {
            let effects = exchange.handle(.rootDiffers(one), at: start + .milliseconds(milliseconds))
            return (effects.directs.count, effects.fetches.count { $0 == request })
        }
        let asked = [0, 249, 250, 499, 500].map { differs($0).asks }
        #expect(asked == [1, 0, 1, 0, 1])
        let lasting = [1_000, 2_000, 2_001, 4_000, 6_000, 8_000, 10_000, 10_001, 10_002].map { differs($0).streams }
        #expect(lasting == [0, 0, 1, 0, 0, 0, 0, 1, 0], "at once after two periods, and then each eight")
        // After more than two periods without a difference, it is a new one.
        let anew = [12_003, 14_003, 14_004].map { differs($0).streams }
        #expect(anew == [0, 0, 0])
        let much = [18_500, 20_500, 20_501].map { differs($0).streams }
        #expect(much == [0, 0, 1])
        #expect(exchange.counters.rootDifferences == 20)
    }

    @Test func `who has the same buckets gets no answer, who differs the summaries in turn`() throws {
        var exchange = try mapExchange(keys: 0..<10)
        join(&exchange, 1...100)
        for id in 1...100 as ClosedRange<UInt64> {
            let delta = MapDelta(
                epoch: 1, sequence: 1, root: UInt32(truncatingIfNeeded: MapPosition.mix(5)), isPartial: false,
                adds: [5], removes: [])
            _ = exchange.handle(.delivered(DigestMessage.delta(delta).encoded(), from: PeerID(rawValue: id)), at: start)
        }
        let same = exchange.handle(
            .direct(DigestMessage.buckets(exchange.bucketRoots()).encoded(), from: one), at: start)
        #expect(same.directs.isEmpty)
        let nothing = DigestMessage.buckets([UInt32](repeating: 0, count: 32)).encoded()
        var heard: Set<PeerID> = []
        for round in 1...3 {
            let answers = exchange.handle(.direct(nothing, from: one), at: start).directs
            #expect(answers.count == 1 && answers[0].count <= 1_000)
            guard case .summaries(let summaries) = try DigestMessage(decoding: answers[0]) else { continue }
            #expect(summaries.count == 41)
            heard.formUnion(summaries.map(\.owner))
            #expect(heard.count == min(101, round * 41))
        }
        // Of one bucket, only its members.
        var one = exchange.bucketRoots()
        one[MapExchange.bucket(of: ownID)] ^= 1
        let few = exchange.handle(
            .direct(DigestMessage.buckets(one).encoded(), from: PeerID(rawValue: 2)), at: start
        ).directs
        guard case .summaries(let summaries)? = try few.first.map({ try DigestMessage(decoding: $0) }) else {
            Issue.record("no summaries")
            return
        }
        #expect(summaries.allSatisfy { MapExchange.bucket(of: $0.owner) == MapExchange.bucket(of: ownID) })
        #expect(summaries.contains { $0.owner == ownID } && summaries.count < 41)
    }

    @Test func `what is no question is reset and counted`() throws {
        var exchange = try mapExchange()
        for (token, bytes) in [(1, [99]), (2, DigestMessage.summaries([]).encoded())] as [(UInt64, [UInt8])] {
            let effects = exchange.handle(.requested(token: token, bytes), at: start)
            #expect(effects == [.answer(token: token, nil)] && exchange.counters.malformed == token)
        }
        for bytes in [[9, 9], DigestMessage.request(.everything).encoded()] {
            let record = exchange.handle(.delivered(bytes, from: one), at: start)
            let datagram = exchange.handle(.direct(bytes, from: one), at: start)
            #expect(record.notices.count == 1 && datagram.notices.count == 1)
        }
        #expect(exchange.counters.malformed == 6)
    }

    @Test func `the root is over what was published by live nodes, and is told when it changes`() throws {
        var empty = try mapExchange()
        #expect(empty.mapRoot == 0)
        let position = MapPosition(epoch: 1, sequence: 0, root: 0)
        join(&empty, 1...1)
        let untouched = empty.handle(.delivered(DigestMessage.moved(position).encoded(), from: one), at: start)
        #expect(untouched.isEmpty && empty.mapRoot == 0, "what is empty from its start is the same as nothing")
        #expect(empty.digests.usableCount == 1)
        let delta = MapDelta(
            epoch: 1, sequence: 1, root: UInt32(truncatingIfNeeded: MapPosition.mix(5)), isPartial: false, adds: [5],
            removes: [])
        let first = empty.handle(.delivered(DigestMessage.delta(delta).encoded(), from: one), at: start)
        #expect(first == [.rootChanged(empty.mapRoot)] && empty.mapRoot != 0)
        let dead = empty.handle(.member(one, isLive: false, bootID: 1, clusterSize: 1), at: start)
        #expect(dead == [.rootChanged(0)])
        let full = try mapExchange(keys: 0..<10)
        #expect(full.mapRoot == full.own.position.contribution(of: ownID))
    }
}
