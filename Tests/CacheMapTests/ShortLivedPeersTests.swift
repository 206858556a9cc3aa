import ClusterModel
import Testing

@testable import CacheMap

/// What nodes leave behind that live for one start, under an identity each: nothing that keeps others out.
struct ShortLivedPeersTests {
    /// Apart from the ids of the fixture.
    private func id(_ number: Int) -> PeerID { PeerID(rawValue: UInt64(100_000 + number)) }

    /// Empty pages that cover the hash space: 2^`depth` of them.
    private func answer(depth: UInt8) -> DigestPages {
        var prefixes = [DigestPrefix.whole]
        for _ in 0..<depth { prefixes = prefixes.flatMap { [$0.halves.0, $0.halves.1] } }
        return answer(prefixes, sequence: 1, isWhole: true)
    }

    private func answer(_ prefixes: [DigestPrefix], sequence: UInt32, isWhole: Bool) -> DigestPages {
        DigestPages(
            position: MapPosition(epoch: 1, sequence: sequence, root: 0), rate: FalseHitRate(oneIn: 160),
            isWhole: isWhole, isFirst: true, isLast: true, isPartial: false,
            pages: prefixes.map { DigestPage(prefix: $0, version: sequence, content: .empty) }, deltas: [])
    }

    private static let delta = DigestMessage.delta(
        MapDelta(
            epoch: 1, sequence: 1, root: UInt32(truncatingIfNeeded: MapPosition.mix(5)), isPartial: false, adds: [5],
            removes: [])
    ).encoded()

    @Test func `after 5,000 of them the latest are remembered, and the digest of a new one is taken`() throws {
        var exchange = try mapExchange()
        func member(_ number: Int, isLive: Bool, at now: MonotonicInstant) -> [MapExchange.Effect] {
            exchange.handle(.member(id(number), isLive: isLive, bootID: 1, clusterSize: 2), at: now)
        }
        for number in 0..<5_000 {
            let now = start + .milliseconds(Int64(number))
            _ = member(number, isLive: true, at: now)
            if number % 10 == 0 { _ = exchange.handle(.delivered(Self.delta, from: id(number)), at: now) }
            _ = member(number, isLive: false, at: now)
        }
        #expect(exchange.peers.count == 4_096 && exchange.digests.views.count == 409)
        #expect(exchange.peers[id(903)] == nil && exchange.peers[id(904)] != nil)
        #expect(exchange.digests.views[id(900)] == nil && exchange.digests.views[id(910)] != nil)
        let now = start + .seconds(60)
        _ = member(5_000, isLive: true, at: now)
        let effects = exchange.handle(.timer, at: now + .seconds(1))
        let asked = effects.compactMap { if case .fetch(_, let peer, _) = $0 { peer } else { nil } }
        #expect(asked == [id(5_000)])
        _ = exchange.handle(.delivered(Self.delta, from: id(5_000)), at: now + .seconds(1))
        #expect(exchange.digests.position(of: id(5_000))?.sequence == 1 && exchange.digests.usableCount == 1)
        // A late record does not bring back who was forgotten; who is remembered comes back with its digest.
        _ = exchange.handle(.delivered(Self.delta, from: id(0)), at: now + .seconds(1))
        #expect(exchange.digests.views[id(0)] == nil && exchange.digests.position(of: id(4_990)) == nil)
        _ = member(4_990, isLive: true, at: now + .seconds(2))
        #expect(exchange.digests.position(of: id(4_990))?.sequence == 1)
    }

    @Test func `digests of the dead make room, the longest dead first, and none of the living goes`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        let (most, one) = (answer(depth: 12), answer(depth: 0))
        for number in 0..<48 { _ = view.apply(most, from: id(number)) }
        let full = view.apply(one, from: id(50))
        #expect(full == .unusable(.refused) && view.usableCount == 48)
        view.setLive(id(5), false)
        view.setLive(id(3), false)
        // To hear again that a peer is down does not make it younger.
        view.setLive(id(5), false)
        let first = view.apply(one, from: id(50))
        #expect(first == .applied && view.views[id(5)] == nil && view.views[id(3)] != nil)
        let second = view.apply(most, from: id(51))
        #expect(second == .applied && view.views[id(3)] == nil && view.usableCount == 48)
        let half = view.apply(answer(depth: 11), from: id(52))
        #expect(half == .applied)
        // What would not be enough is not given up in vain.
        view.setLive(id(50), false)
        let refused = view.apply(most, from: id(53))
        #expect(refused == .unusable(.refused) && view.views[id(50)] != nil && view.usableCount == 48)
    }

    @Test func `changed pages give a peer no more pages than whole ones`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        _ = view.apply(answer(depth: 12), from: peer)
        let last = try #require(view.views[peer]?.pages.pages.last?.prefix)
        let same = view.apply(answer([last], sequence: 2, isWhole: false), from: peer)
        #expect(same == .applied && view.position(of: peer)?.sequence == 2)
        let more = view.apply(answer([last.halves.0, last.halves.1], sequence: 3, isWhole: false), from: peer)
        #expect(more == .unusable(.refused) && view.position(of: peer)?.sequence == 2)
    }
}
