import ClusterModel
import Testing

@testable import CacheMap

/// Two exchanges, and the effects that one causes at the other.
private struct Pair {
    var owner: MapExchange
    var reader: MapExchange
    let ownerID = PeerID(rawValue: 1)
    let readerID = PeerID(rawValue: 2)
    var now = start

    init(keys: Range<Int>) throws {
        owner = MapExchange(selfID: ownerID, own: try digest(keys: keys), hashKey: try hashKey())
        reader = MapExchange(selfID: readerID, own: try digest(keys: 0..<0), hashKey: try hashKey())
    }

    mutating func meet(boot: UInt64 = 1) -> [MapExchange.Effect] {
        reader.handle(.member(ownerID, isLive: true, bootID: boot, clusterSize: 2), at: now)
    }

    /// Lets the reader's wakes come, and answers its fetches until it wants nothing more.
    mutating func settle(_ effects: [MapExchange.Effect]) {
        var queue = effects
        for _ in 0..<50 where !queue.isEmpty {
            let effect = queue.removeFirst()
            switch effect {
            case .wake(let at):
                now = max(now, at)
                queue += reader.handle(.timer, at: now)
            case .fetch(let id, _, let bytes):
                for case .answer(_, let parts?) in owner.handle(.requested(token: 1, bytes), at: now) {
                    for part in parts { queue += reader.handle(.fetched(id, part), at: now) }
                }
                queue += reader.handle(.fetchEnded(id), at: now)
            default: break
            }
        }
    }

    func published(_ effects: [MapExchange.Effect]) -> [(bytes: [UInt8], isUrgent: Bool)] {
        effects.compactMap { if case .publish(let bytes, let isUrgent) = $0 { (bytes, isUrgent) } else { nil } }
    }
}

struct ExchangeTests {
    @Test func `a new member's digest is fetched, and then both have one root for it`() throws {
        var pair = try Pair(keys: 0..<3_000)
        pair.settle(pair.meet())
        #expect((0..<3_000).allSatisfy { pair.reader.digests.mayHold(pair.ownerID, mapKey($0)) })
        #expect(pair.reader.mapRoot == pair.owner.mapRoot)
    }

    @Test func `changes are batched for a second, filled packets and costly results are not`() throws {
        var pair = try Pair(keys: 0..<0)
        let first = pair.owner.handle(.added([entry(1)]), at: start)
        #expect(pair.published(first).isEmpty)
        #expect(first.contains(.wake(at: start + .seconds(1))))
        let early = pair.owner.handle(.added([entry(2)]), at: start + .milliseconds(900))
        #expect(pair.published(early).isEmpty)
        let due = pair.owner.handle(.timer, at: start + .seconds(1))
        #expect(pair.published(due).map(\.isUrgent) == [false])
        let costly = pair.owner.handle(.added([entry(3, cost: 11)]), at: start + .seconds(2))
        #expect(pair.published(costly).map(\.isUrgent) == [true])
        let full = pair.owner.handle(.added((10..<300).map { entry($0) }), at: start + .seconds(3))
        #expect(pair.published(full).count == 1 || pair.published(full).count == 2)
    }

    @Test func `removals are told at once`() throws {
        var pair = try Pair(keys: 0..<100)
        let effects = pair.owner.handle(.removed([mapKey(3)]), at: start)
        #expect(pair.published(effects).count == 1)
    }

    @Test func `a lost delta is found by the root and fetched from its owner`() throws {
        var pair = try Pair(keys: 0..<100)
        pair.settle(pair.meet())
        _ = pair.owner.handle(.member(pair.readerID, isLive: true, bootID: 1, clusterSize: 2), at: start)
        _ = pair.owner.handle(.added([entry(500, cost: 20)]), at: pair.now)
        #expect(pair.reader.mapRoot != pair.owner.mapRoot)
        var effects: [MapExchange.Effect] = []
        for case .direct(let bytes, _) in pair.reader.handle(.rootDiffers(pair.ownerID), at: pair.now) {
            for case .direct(let answer, _) in pair.owner.handle(.direct(bytes, from: pair.readerID), at: pair.now) {
                effects += pair.reader.handle(.direct(answer, from: pair.ownerID), at: pair.now)
            }
        }
        pair.settle(effects)
        #expect(pair.reader.digests.mayHold(pair.ownerID, mapKey(500)))
        #expect(pair.reader.counters.fetches == 2)
    }

    @Test func `a difference that lasts is looked into by stream`() throws {
        var pair = try Pair(keys: 0..<10)
        pair.settle(pair.meet())
        var streams = 0
        for step in 0..<5 {
            let effects = pair.reader.handle(.rootDiffers(pair.ownerID), at: pair.now + .seconds(Int64(step)))
            for case .fetch(_, _, let bytes) in effects where bytes == DigestMessage.summaryRequest.encoded() {
                streams += 1
            }
        }
        #expect(streams == 1)
    }

    @Test func `a dead peer's digest is kept and not used, and a new boot has to speak first`() throws {
        var pair = try Pair(keys: 0..<100)
        pair.settle(pair.meet())
        _ = pair.reader.handle(.member(pair.ownerID, isLive: false, bootID: 1, clusterSize: 1), at: pair.now)
        #expect(pair.reader.digests.holders(of: mapKey(1)).isEmpty)
        let back = pair.meet(boot: 2)
        #expect(pair.reader.digests.holders(of: mapKey(1)).isEmpty)
        let whole = pair.reader.counters.wholeDigests
        pair.settle(back)
        #expect(pair.reader.digests.holders(of: mapKey(1)) == [pair.ownerID])
        // Equal content: nothing was sent again.
        #expect(pair.reader.counters.wholeDigests == whole)
    }

    @Test func `garbage, pages that do not cover and endless answers are counted and given up`() throws {
        var pair = try Pair(keys: 0..<3_000)
        _ = pair.meet()
        func open(_ reader: inout MapExchange, at now: MonotonicInstant) -> MapExchange.FetchID? {
            for case .fetch(let id, _, _) in reader.handle(.timer, at: now) { return id }
            return nil
        }
        let first = try #require(open(&pair.reader, at: start + .seconds(1)))
        let garbage = pair.reader.handle(.fetched(first, [3, 1, 2, 3]), at: start + .seconds(1))
        #expect(garbage.contains(.abandon(first)))
        let second = try #require(open(&pair.reader, at: start + .seconds(3)))
        var owner = try digest(keys: 0..<3_000)
        let whole = owner.answer(.everything, at: start)[0]
        let endless = DigestPages(
            position: whole.position, rate: whole.rate, isWhole: true, isFirst: false, isLast: false, isPartial: false,
            pages: Array(repeating: whole.pages[0], count: 700), deltas: [])
        var wasGivenUp = false
        for _ in 0..<10 {
            let effects = pair.reader.handle(
                .fetched(second, DigestMessage.pages(endless).encoded()), at: start + .seconds(3))
            wasGivenUp = wasGivenUp || effects.contains(.abandon(second))
        }
        #expect(wasGivenUp)
        #expect(pair.reader.counters.malformed == 1 && pair.reader.counters.refused == 1)
        let effects = pair.reader.handle(.delivered([9, 9], from: pair.ownerID), at: start)
        #expect(effects.contains { if case .notice(.malformed) = $0 { true } else { false } })
        // It is tried again, later each time, and heals.
        pair.now = start + .seconds(10)
        pair.settle(pair.reader.handle(.timer, at: pair.now))
        #expect(pair.reader.digests.mayHold(pair.ownerID, mapKey(1)))
    }

    @Test func `a cluster that stays larger gets finer pages once, and everybody is told`() throws {
        var pair = try Pair(keys: 0..<1_000)
        let before = pair.owner.own.rate
        for size in [65, 64, 65, 64] {
            _ = pair.owner.handle(
                .member(PeerID(rawValue: 9), isLive: true, bootID: UInt64(size), clusterSize: size), at: start)
            _ = pair.owner.handle(.timer, at: start + .seconds(3))
        }
        #expect(pair.owner.own.rate == before)
        _ = pair.owner.handle(.member(PeerID(rawValue: 9), isLive: true, bootID: 99, clusterSize: 65), at: start)
        let effects = pair.owner.handle(.timer, at: start + .seconds(16))
        #expect(pair.owner.own.rate.oneIn == 1_280)
        #expect(pair.published(effects).map(\.bytes) == [DigestMessage.moved(pair.owner.own.position).encoded()])
    }
}
