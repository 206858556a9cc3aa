import ClusterModel
import Testing

@testable import CacheMap

extension [MapExchange.Effect] {
    fileprivate var fetches: [(id: MapExchange.FetchID, peer: PeerID, bytes: [UInt8])] {
        compactMap { if case .fetch(let id, let peer, let bytes) = $0 { (id, peer, bytes) } else { nil } }
    }
    fileprivate var wakes: [MonotonicInstant] { compactMap { if case .wake(let at) = $0 { at } else { nil } } }
}

/// How what is missing is found and fetched: when, from whom, how often.
struct RepairTests {
    private let one = PeerID(rawValue: 1)

    private func join(_ exchange: inout MapExchange, _ ids: ClosedRange<UInt64>, boot: UInt64 = 1) {
        for id in ids {
            _ = exchange.handle(
                .member(PeerID(rawValue: id), isLive: true, bootID: boot, clusterSize: ids.count + 1), at: start)
        }
    }

    /// The digest of a member, and its answer to whatever is asked.
    private func answer(_ owner: inout CacheMapDigest, _ request: [UInt8]) throws -> [[UInt8]] {
        guard case .request(let request) = try DigestMessage(decoding: request) else { return [] }
        return owner.answer(request, at: start).map { DigestMessage.pages($0).encoded() }
    }

    /// An exchange that has the digest of `one`.
    private func settled(_ owner: inout CacheMapDigest) throws -> MapExchange {
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        let fetch = try #require(exchange.handle(.timer, at: start + .seconds(1)).fetches.first)
        for bytes in try answer(&owner, fetch.bytes) {
            _ = exchange.handle(.fetched(fetch.id, bytes), at: start + .seconds(1))
        }
        _ = exchange.handle(.fetchEnded(fetch.id), at: start + .seconds(1))
        return exchange
    }

    @Test func `eight digests are fetched at once, the next when one is done, each within half a period`() throws {
        var exchange = try mapExchange()
        join(&exchange, 1...10)
        let early = exchange.handle(.timer, at: start)
        #expect(early.fetches.count < 8)
        let now = start + .milliseconds(500)
        let opened = early.fetches + exchange.handle(.timer, at: now).fetches
        #expect(opened.count == 8 && Set(opened.map(\.peer)).count == 8)
        #expect(exchange.counters.fetches == 8)
        let none = exchange.handle(.timer, at: now + .seconds(1))
        #expect(none.fetches.isEmpty && none.wakes.isEmpty)
        var owner = try digest(keys: 0..<10)
        for bytes in try answer(&owner, opened[0].bytes) { _ = exchange.handle(.fetched(opened[0].id, bytes), at: now) }
        let next = exchange.handle(.fetchEnded(opened[0].id), at: now)
        #expect(next.fetches.count == 1 && exchange.counters.fetches == 9)
        #expect(exchange.digests.usableCount == 1 && exchange.counters.fetchesFailed == 0)
    }

    @Test func `a fetch that fails is tried again after one period, twice as long each time, up to sixteen`() throws {
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        var now = start + .milliseconds(500)
        var fetch = exchange.handle(.timer, at: now).fetches
        for (failures, wait) in [1, 2, 4, 8, 16, 16, 16].enumerated() {
            let id = try #require(fetch.first?.id)
            let ended = exchange.handle(.fetchEnded(id), at: now)
            #expect(ended.fetches.isEmpty && exchange.counters.fetchesFailed == UInt64(failures + 1))
            now = now + .seconds(Int64(wait))
            #expect(ended.wakes == [now])
            // Another word on what is missing makes nothing sooner.
            let moved = DigestMessage.moved(MapPosition(epoch: 9, sequence: 1, root: 1)).encoded()
            _ = exchange.handle(.delivered(moved, from: one), at: now + .milliseconds(-600))
            let early = exchange.handle(.timer, at: now + .nanoseconds(-1))
            #expect(early.fetches.isEmpty)
            let opened = exchange.handle(.timer, at: now)
            fetch = opened.fetches
            #expect(fetch.count == 1 && opened.wakes.isEmpty)
        }
    }

    @Test func `garbage ends a fetch, a refused answer too, and both count`() throws {
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        let first = try #require(exchange.handle(.timer, at: start + .seconds(1)).fetches.first)
        let garbage = exchange.handle(.fetched(first.id, [3, 1]), at: start + .seconds(1))
        #expect(garbage.contains(.abandon(first.id)) && exchange.counters.malformed == 1)
        let second = try #require(exchange.handle(.timer, at: start + .seconds(2)).fetches.first)
        let gap = DigestPages(
            position: MapPosition(epoch: 1, sequence: 1, root: 0), rate: FalseHitRate(oneIn: 160), isWhole: true,
            isFirst: true, isLast: true, isPartial: false,
            pages: [DigestPage(prefix: DigestPrefix.whole.halves.0, version: 1, content: .empty)], deltas: [])
        let refused = exchange.handle(
            .fetched(second.id, DigestMessage.pages(gap).encoded()), at: start + .seconds(2))
        #expect(refused.contains(.abandon(second.id)) && refused.notices == [.refused(from: one)])
        #expect(exchange.counters.refused == 1 && exchange.counters.fetchesFailed == 2)
        #expect(exchange.counters.wholeDigests == 1)
        // Of a stream that was given up nothing counts any more.
        let late = exchange.handle(.fetched(second.id, [3, 1]), at: start + .seconds(2))
        #expect(late.isEmpty && exchange.counters.malformed == 1)
        let third = try #require(exchange.handle(.timer, at: start + .seconds(4)).fetches.first)
        let strange = exchange.handle(
            .fetched(third.id, DigestMessage.summaries([]).encoded()), at: start + .seconds(4))
        #expect(strange.contains(.abandon(third.id)) && exchange.counters.malformed == 2)
    }

    @Test func `a part that is not the last is no answer, and its whole counts once`() throws {
        var owner = try digest(keys: 0..<32_000) { $0.pageBytes = 60 }
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        let first = try #require(exchange.handle(.timer, at: start + .seconds(1)).fetches.first)
        let parts = try answer(&owner, first.bytes)
        try #require(parts.count == 3)
        for bytes in parts[..<2] { _ = exchange.handle(.fetched(first.id, bytes), at: start + .seconds(1)) }
        let broken = exchange.handle(.fetchEnded(first.id), at: start + .seconds(1))
        #expect(broken.wakes == [start + .seconds(2)] && exchange.counters.fetchesFailed == 1)
        let second = try #require(exchange.handle(.timer, at: start + .seconds(2)).fetches.first)
        for bytes in parts { _ = exchange.handle(.fetched(second.id, bytes), at: start + .seconds(2)) }
        let ended = exchange.handle(.fetchEnded(second.id), at: start + .seconds(2))
        #expect(ended.wakes.isEmpty && exchange.counters.wholeDigests == 2)
        #expect(exchange.digests.position(of: one) == owner.position)
    }

    @Test func `a gap is given a quarter of a period to close, then it is asked for by its place`() throws {
        var owner = try digest(keys: 0..<100)
        var exchange = try settled(&owner)
        var deltas: [[UInt8]] = []
        for number in 200..<204 {
            owner.add(entry(number))
            deltas += owner.flush(at: start).map { DigestMessage.delta($0).encoded() }
        }
        let now = start + .seconds(5)
        let ahead = exchange.handle(.delivered(deltas[1], from: one), at: now)
        #expect(ahead.wakes == [now + .milliseconds(250)] && exchange.counters.gaps == 1)
        // It closes by itself: nothing is fetched.
        _ = exchange.handle(.delivered(deltas[0], from: one), at: now + .milliseconds(100))
        let quiet = exchange.handle(.timer, at: now + .milliseconds(250))
        #expect(quiet.fetches.isEmpty)
        _ = exchange.handle(.delivered(deltas[3], from: one), at: now + .seconds(1))
        let early = exchange.handle(.timer, at: now + .milliseconds(1_249))
        #expect(early.fetches.isEmpty)
        let due = exchange.handle(.timer, at: now + .milliseconds(1_250))
        let fetch = try #require(due.fetches.first)
        #expect(fetch.bytes == DigestMessage.request(DigestRequest(epoch: 1, sequence: 2)).encoded())
        #expect(exchange.counters.deltasReceived == 3 && exchange.counters.gaps == 2)
        // The answer is older than the delta that waits: one more is missing and is asked for later.
        for bytes in try answer(&owner, fetch.bytes) { _ = exchange.handle(.fetched(fetch.id, bytes), at: now) }
        let ended = exchange.handle(.fetchEnded(fetch.id), at: now + .seconds(2))
        #expect(ended.wakes.isEmpty && exchange.digests.position(of: one) == owner.position)
    }

    @Test func `an answer that still leaves a gap, or is behind what others say, is asked for once more`() throws {
        var owner = try digest(keys: 0..<100)
        for hasGap in [true, false] {
            var exchange = try settled(&owner)
            var later = owner
            var deltas: [[UInt8]] = []
            for number in 200..<204 {
                later.add(entry(number))
                deltas += later.flush(at: start).map { DigestMessage.delta($0).encoded() }
            }
            let now = start + .seconds(5)
            if hasGap {
                _ = exchange.handle(.delivered(deltas[3], from: one), at: now)
            } else {
                let word = DigestMessage.summaries([MapSummary(owner: one, position: later.position)]).encoded()
                _ = exchange.handle(.direct(word, from: PeerID(rawValue: 2)), at: now)
            }
            let fetch = try #require(exchange.handle(.timer, at: now + .seconds(1)).fetches.first)
            for bytes in try answer(&owner, fetch.bytes) {
                _ = exchange.handle(.fetched(fetch.id, bytes), at: now + .seconds(1))
            }
            let ended = exchange.handle(.fetchEnded(fetch.id), at: now + .seconds(1))
            #expect(ended.wakes == [now + .seconds(2)], "\(hasGap)")
            #expect(exchange.counters.fetchesFailed == 0)
            let again = exchange.handle(.timer, at: now + .seconds(2))
            #expect(again.fetches.count == 1)
        }
    }

    @Test func `a damaged digest is fetched whole and at once, a partial request would not mend it`() throws {
        var owner = try digest(keys: 0..<100)
        var exchange = try settled(&owner)
        let forged = MapDelta(epoch: 1, sequence: 1, root: 5, isPartial: false, adds: [5], removes: [])
        let now = start + .seconds(5)
        let effects = exchange.handle(.delivered(DigestMessage.delta(forged).encoded(), from: one), at: now)
        #expect(effects.notices == [.damaged(one)] && exchange.counters.damaged == 1)
        #expect(effects.fetches.map(\.bytes) == [DigestMessage.request(.everything).encoded()])
    }

    @Test func `a digest with too many changes and one that denies too much are fetched whole`() throws {
        var owner = try digest(keys: 0..<100)
        var exchange = try settled(&owner)
        let now = start + .seconds(5)
        var position = owner.position
        var fetches: [[UInt8]] = []
        for first in [1, 8_000, 16_000] as [UInt32] {
            let adds = Array(first..<first + 7_000)
            position.sequence += 1
            for short in adds { position.root ^= MapPosition.mix(short) }
            let delta = MapDelta(
                epoch: 1, sequence: position.sequence, root: UInt32(truncatingIfNeeded: position.root),
                isPartial: false, adds: adds, removes: [])
            fetches += exchange.handle(.delivered(DigestMessage.delta(delta).encoded(), from: one), at: now)
                .fetches.map(\.bytes)
        }
        #expect(fetches == [DigestMessage.request(.everything).encoded()] && exchange.counters.damaged == 0)
        var other = try settled(&owner)
        let honest = other.handle(.answered(one, confirmed: 195, denied: 4), at: now)
        #expect(honest.isEmpty)
        let denied = other.handle(.answered(one, confirmed: 0, denied: 1), at: now)
        #expect(denied.notices == [.unreliable(one)] && other.counters.unreliable == 1)
        #expect(denied.fetches.map(\.bytes) == [DigestMessage.request(.everything).encoded()])
        // What is said meanwhile does not make a partial request of it.
        let moved = other.handle(
            .delivered(DigestMessage.moved(MapPosition(epoch: 1, sequence: 3, root: 1)).encoded(), from: one), at: now)
        #expect(moved.fetches.isEmpty, "one stream to each")
    }

    @Test func `a wish for everything stays one when a lesser one follows`() throws {
        var owner = try digest(keys: 0..<100)
        var exchange = try settled(&owner)
        let now = start + .seconds(5)
        // Eight streams are taken, so that wishes wait.
        join(&exchange, 2...9)
        #expect(exchange.handle(.timer, at: now).fetches.count == 8)
        let forged = MapDelta(epoch: 1, sequence: 1, root: 5, isPartial: false, adds: [5], removes: [])
        _ = exchange.handle(.delivered(DigestMessage.delta(forged).encoded(), from: one), at: now)
        let moved = DigestMessage.moved(MapPosition(epoch: 1, sequence: 9, root: 1)).encoded()
        _ = exchange.handle(.delivered(moved, from: one), at: now)
        let next = exchange.handle(.member(PeerID(rawValue: 2), isLive: false, bootID: 1, clusterSize: 9), at: now)
        #expect(next.fetches.map(\.bytes) == [DigestMessage.request(.everything).encoded()])
    }

    @Test func `who dies is not asked any more, and its stream is given up`() throws {
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        let fetch = try #require(exchange.handle(.timer, at: start + .seconds(1)).fetches.first)
        let dead = exchange.handle(.member(one, isLive: false, bootID: 1, clusterSize: 1), at: start + .seconds(1))
        #expect(dead.contains(.abandon(fetch.id)))
        let ended = exchange.handle(.fetchEnded(fetch.id), at: start + .seconds(2))
        #expect(ended.isEmpty && exchange.counters.fetchesFailed == 0)
        let moved = DigestMessage.moved(MapPosition(epoch: 3, sequence: 1, root: 1)).encoded()
        let word = exchange.handle(.delivered(moved, from: one), at: start + .seconds(3))
        let summary = DigestMessage.summaries([
            MapSummary(owner: one, position: MapPosition(epoch: 3, sequence: 0, root: 0)),
            MapSummary(owner: ownID, position: MapPosition(epoch: 30, sequence: 1, root: 5)),
        ]).encoded()
        let words = exchange.handle(.direct(summary, from: PeerID(rawValue: 7)), at: start + .seconds(3))
        #expect(word.isEmpty && words.isEmpty)
        #expect(exchange.digests.position(of: one) == nil && exchange.digests.promise(of: ownID) == nil)
    }

    @Test func `a member's older word changes nothing, and a new boot makes its digest wait`() throws {
        var owner = try digest(keys: 0..<100)
        var exchange = try settled(&owner)
        let now = start + .seconds(5)
        func member(_ isLive: Bool, _ boot: UInt64) -> [MapExchange.Effect] {
            exchange.handle(.member(one, isLive: isLive, bootID: boot, clusterSize: 2), at: now)
        }
        #expect(member(true, 1).isEmpty)
        _ = member(true, 5)
        #expect(exchange.digests.usableCount == 0, "the new boot has said nothing yet")
        let fetch = try #require(exchange.handle(.timer, at: now + .seconds(1)).fetches.first)
        for bytes in try answer(&owner, fetch.bytes) { _ = exchange.handle(.fetched(fetch.id, bytes), at: now) }
        _ = exchange.handle(.fetchEnded(fetch.id), at: now)
        #expect(exchange.digests.usableCount == 1)
        _ = member(true, 3)
        _ = member(true, 4)
        #expect(exchange.digests.usableCount == 1, "the highest boot stands")
    }

    @Test func `4,096 members are followed; for a new one that is up the one that is down for longest goes`() throws {
        var exchange = try mapExchange()
        func member(_ id: UInt64, isLive: Bool, boot: UInt64 = 1, after seconds: Int64 = 0) {
            _ = exchange.handle(
                .member(PeerID(rawValue: id), isLive: isLive, bootID: boot, clusterSize: 2),
                at: start + .seconds(seconds))
        }
        func isFollowed(_ id: UInt64) -> Bool { exchange.peers[PeerID(rawValue: id)] != nil }
        for id in 1...4_097 as ClosedRange<UInt64> { member(id, isLive: true) }
        #expect(exchange.peers.count == 4_096, "one of them is this node")
        member(5_000, isLive: true)
        #expect(!isFollowed(5_000) && exchange.peers.count == 4_096, "all are up")
        member(8, isLive: false, after: 1)
        member(7, isLive: false, after: 2)
        member(8, isLive: false, boot: 2, after: 3)
        member(5_001, isLive: false, after: 3)
        #expect(!isFollowed(5_001) && isFollowed(8))
        member(5_002, isLive: true, after: 3)
        #expect(isFollowed(5_002) && !isFollowed(8) && isFollowed(7))
        member(5_003, isLive: true, after: 3)
        member(5_004, isLive: true, after: 3)
        #expect(isFollowed(5_003) && !isFollowed(7) && !isFollowed(5_004) && exchange.peers.count == 4_096)
        member(1, isLive: true, boot: 2, after: 3)
        #expect(exchange.peers[one]?.bootID == 2)
    }

    @Test func `what is due longest is fetched first`() throws {
        var exchange = try mapExchange()
        join(&exchange, 1...8)
        let opened = exchange.handle(.timer, at: start + .seconds(1)).fetches
        try #require(opened.count == 8)
        for (id, seconds) in [(10, 1), (9, 3)] as [(UInt64, Int64)] {
            _ = exchange.handle(
                .member(PeerID(rawValue: id), isLive: true, bootID: 1, clusterSize: 9), at: start + .seconds(seconds))
        }
        let waiting = exchange.handle(.timer, at: start + .seconds(9))
        #expect(waiting.fetches.isEmpty)
        let next = exchange.handle(.member(one, isLive: false, bootID: 1, clusterSize: 9), at: start + .seconds(9))
        #expect(next.fetches.map(\.peer.rawValue) == [10])
    }

    @Test func `an older word does not make what is missing less`() throws {
        var owner = try digest(keys: 0..<100)
        var exchange = try settled(&owner)
        var later = owner
        var deltas: [[UInt8]] = []
        var positions = [owner.position]
        for number in 200..<204 {
            later.add(entry(number))
            deltas += later.flush(at: start).map { DigestMessage.delta($0).encoded() }
            positions.append(later.position)
        }
        let now = start + .seconds(5)
        for position in [positions[4], positions[2]] {
            let word = DigestMessage.summaries([MapSummary(owner: one, position: position)]).encoded()
            _ = exchange.handle(.direct(word, from: PeerID(rawValue: 2)), at: now)
        }
        for bytes in deltas[..<2] { _ = exchange.handle(.delivered(bytes, from: one), at: now) }
        let due = exchange.handle(.timer, at: now + .seconds(1))
        #expect(due.fetches.map(\.bytes) == [DigestMessage.request(DigestRequest(epoch: 1, sequence: 2)).encoded()])
    }

    @Test func `what an owner tells while its digest is on the way is not lost`() throws {
        var owner = try digest(keys: 0..<100)
        owner.add(entry(200))
        _ = owner.flush(at: start)
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        let now = start + .seconds(1)
        let fetch = try #require(exchange.handle(.timer, at: now).fetches.first)
        let parts = try answer(&owner, fetch.bytes)
        owner.add(entry(201))
        for delta in owner.flush(at: start) {
            _ = exchange.handle(.delivered(DigestMessage.delta(delta).encoded(), from: one), at: now)
        }
        for bytes in parts { _ = exchange.handle(.fetched(fetch.id, bytes), at: now) }
        #expect(exchange.digests.position(of: one) == owner.position)
        #expect(exchange.digests.mayHold(one, mapKey(201)))
    }

    @Test func `an answer that turns into garbage does not answer the next fetch`() throws {
        var owner = try digest(keys: 0..<100)
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        let first = try #require(exchange.handle(.timer, at: start + .seconds(1)).fetches.first)
        for bytes in try answer(&owner, first.bytes) + [[3, 1]] {
            _ = exchange.handle(.fetched(first.id, bytes), at: start + .seconds(1))
        }
        let moved = DigestMessage.moved(MapPosition(epoch: 2, sequence: 0, root: 5)).encoded()
        _ = exchange.handle(.delivered(moved, from: one), at: start + .seconds(1))
        let second = try #require(exchange.handle(.timer, at: start + .seconds(2)).fetches.first)
        let ended = exchange.handle(.fetchEnded(second.id), at: start + .seconds(2))
        #expect(exchange.counters.fetchesFailed == 2 && ended.wakes == [start + .seconds(4)])
    }

    @Test func `an exchange that is replaced goes on counting, and numbers no stream twice`() throws {
        var exchange = try mapExchange()
        join(&exchange, 1...1)
        let first = try #require(exchange.handle(.timer, at: start + .seconds(1)).fetches.first)
        var next = try mapExchange().continuing(exchange)
        #expect(next.counters == exchange.counters && next.counters.fetches == 1)
        join(&next, 1...1)
        let second = try #require(next.handle(.timer, at: start + .seconds(1)).fetches.first)
        #expect(second.id != first.id)
    }
}
