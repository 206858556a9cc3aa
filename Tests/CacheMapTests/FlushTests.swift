import ClusterModel
import Testing

@testable import CacheMap

extension [MapExchange.Effect] {
    /// Records for everybody, and whether they are urgent.
    fileprivate var published: [(bytes: [UInt8], isUrgent: Bool)] {
        compactMap { if case .publish(let bytes, let isUrgent) = $0 { (bytes, isUrgent) } else { nil } }
    }
    fileprivate var wakes: [MonotonicInstant] { compactMap { if case .wake(let at) = $0 { at } else { nil } } }
    fileprivate var saved: [SavedPosition] { compactMap { if case .save(let saved) = $0 { saved } else { nil } } }
}

/// When a node tells what it holds, and how.
struct FlushTests {
    private let one = PeerID(rawValue: 1)
    private let other = PeerID(rawValue: 2)

    private func exchange(
        keys: Range<Int> = 0..<0, _ change: (inout CacheMapDigest.Settings) -> Void = { _ in }
    ) throws -> MapExchange {
        MapExchange(selfID: one, own: try digest(keys: keys, change), hashKey: try hashKey())
    }

    @Test func `a result of ten seconds is told at once, a cheaper one waits, and so does the next cheap one`() throws {
        var exchange = try exchange()
        let cheap = exchange.handle(.added([entry(1, cost: 9.99)]), at: start)
        #expect(cheap.published.isEmpty && cheap.wakes == [start + .seconds(1)])
        let costly = exchange.handle(.added([entry(2, cost: 10)]), at: start + .milliseconds(10))
        #expect(costly.published.map(\.isUrgent) == [true])
        #expect(costly.saved == [exchange.own.saved])
        let next = exchange.handle(.added([entry(3)]), at: start + .milliseconds(20))
        #expect(next.published.isEmpty)
        let due = exchange.handle(.timer, at: start + .milliseconds(1_020))
        #expect(due.published.map(\.isUrgent) == [false] && due.saved == [exchange.own.saved])
        #expect(exchange.counters.deltasPublished == 2)
    }

    @Test func `what is held already is not told`() throws {
        var exchange = try exchange(keys: 0..<10)
        let effects = exchange.handle(.added([entry(3, cost: 60)]), at: start)
        #expect(effects.isEmpty)
    }

    @Test func `a batch goes when it fills a delta, not before`() throws {
        // Four bytes a hash are reckoned, and a thousand are a delta.
        var exchange = try exchange()
        let short = exchange.handle(.added((0..<249).map { entry($0) }), at: start)
        #expect(short.published.isEmpty)
        let full = exchange.handle(.added([entry(249)]), at: start + .milliseconds(1))
        #expect(full.published.map(\.isUrgent) == [false])
    }

    @Test(arguments: [(2, 1_000), (16, 1_000), (24, 1_500), (48, 3_000), (80, 5_000), (4_096, 5_000)])
    func `the larger the cluster, the longer changes wait, from one second to five`(
        size: Int, milliseconds: Int64
    )
        throws
    {
        var exchange = try exchange { $0.fixedRate = FalseHitRate(oneIn: 640) }
        _ = exchange.handle(.member(other, isLive: true, bootID: 1, clusterSize: size), at: start)
        _ = exchange.handle(.member(other, isLive: false, bootID: 1, clusterSize: size), at: start)
        let effects = exchange.handle(.added([entry(1)]), at: start)
        #expect(effects.wakes == [start + .milliseconds(milliseconds)])
        let early = exchange.handle(.timer, at: start + .milliseconds(milliseconds - 1))
        #expect(early.published.isEmpty && early.wakes == [start + .milliseconds(milliseconds)])
        let due = exchange.handle(.timer, at: start + .milliseconds(milliseconds))
        #expect(due.published.count == 1 && due.wakes.isEmpty)
    }

    @Test func `a wake is asked for once, and never in the past`() throws {
        var exchange = try exchange()
        let first = exchange.handle(.added([entry(1)]), at: start)
        let second = exchange.handle(.added([entry(2)]), at: start + .milliseconds(10))
        #expect(first.wakes.count == 1 && second.wakes.isEmpty)
        // The wake came late, for something else that is due still.
        let late = exchange.handle(.rootDiffers(other), at: start + .seconds(9))
        #expect(late.wakes.allSatisfy { $0 >= start + .seconds(9) })
    }

    @Test func `128 deltas of one flush are gossiped, of more only that there is something to fetch`() throws {
        func deltas(_ count: Int) throws -> Int {
            var copy = try self.exchange { $0.pageBytes = 60 }.own
            for number in 0..<count { copy.add(entry(number)) }
            return copy.flush(at: start).count
        }
        var (most, more) = (1_536, 2_048)
        while more - most > 1 {
            let middle = (most + more) / 2
            if try deltas(middle) <= 128 { most = middle } else { more = middle }
        }
        #expect(try deltas(most) == 128 && deltas(most + 1) == 129)
        var exchange = try self.exchange { $0.pageBytes = 60 }
        let gossiped = exchange.handle(.added((0..<most).map { entry($0) }), at: start)
        #expect(gossiped.published.count == 128 && exchange.counters.deltasPublished == 128)
        var larger = try self.exchange { $0.pageBytes = 60 }
        let moved = larger.handle(.added((0..<most + 1).map { entry($0) }), at: start)
        #expect(moved.published.map(\.bytes) == [DigestMessage.moved(larger.own.position).encoded()])
        #expect(moved.published.map(\.isUrgent) == [true] && larger.counters.deltasPublished == 0)
        #expect(moved.saved == [larger.own.saved])
    }

    @Test func `most of a digest gone is told as a new history, urgently`() throws {
        var exchange = try exchange(keys: 0..<1_000)
        let effects = exchange.handle(.removed((0..<900).map(mapKey)), at: start)
        #expect(exchange.own.epoch == 2)
        #expect(effects.published.map(\.bytes) == [DigestMessage.moved(exchange.own.position).encoded()])
        #expect(effects.published.map(\.isUrgent) == [true])
    }

    @Test func `a removal is told in the same step, before anything can be deleted, with what waited`() throws {
        var exchange = try exchange(keys: 0..<100)
        _ = exchange.handle(.added([entry(500)]), at: start)
        let effects = exchange.handle(.removed([mapKey(3), mapKey(4)]), at: start)
        guard case .publish(let bytes, _)? = effects.first,
            case .delta(let delta) = try DigestMessage(decoding: bytes)
        else {
            Issue.record("no delta")
            return
        }
        #expect(delta.removes.count == 2 && delta.adds.count == 1)
        let unknown = exchange.handle(.removed([mapKey(9_999)]), at: start)
        #expect(unknown.published.isEmpty)
        let due = exchange.handle(.timer, at: start + .seconds(1))
        #expect(due.published.isEmpty, "nothing is left to tell")
    }

    @Test func `a question is answered with what waited`() throws {
        var exchange = try exchange(keys: 0..<100)
        _ = exchange.handle(.added([entry(500)]), at: start)
        let request = DigestMessage.request(.everything).encoded()
        let effects = exchange.handle(.requested(token: 4, request), at: start)
        #expect(effects.published.count == 1)
        let answers = effects.compactMap { if case .answer(4, let parts?) = $0 { parts } else { nil } }
        let bytes = try #require(answers.first?.first)
        guard case .pages(let pages) = try DigestMessage(decoding: bytes) else {
            Issue.record("no pages")
            return
        }
        #expect(pages.position == exchange.own.position && pages.position.sequence == 1)
    }

    @Test(arguments: UInt64(1)...8)
    func `another size of the cluster makes new pages after five periods and before fifteen, at its own time`(
        id: UInt64
    ) throws {
        var exchange = MapExchange(
            selfID: PeerID(rawValue: id), own: try digest(keys: 0..<50), hashKey: try hashKey())
        func size(_ size: Int, _ boot: UInt64, at now: MonotonicInstant) -> [MapExchange.Effect] {
            exchange.handle(
                .member(PeerID(rawValue: 99), isLive: boot % 2 == 1, bootID: boot, clusterSize: size), at: now)
        }
        let grown = size(65, 2, at: start)
        let due = try #require(grown.wakes.first)
        #expect(due == start + .seconds(5) + exchange.spread(PeerID(rawValue: id), within: .seconds(10)))
        #expect(due >= start + .seconds(5) && due < start + .seconds(15))
        // It fits again for a moment: the wait begins anew.
        _ = size(64, 4, at: start + .seconds(2))
        let calledOff = exchange.handle(.timer, at: due)
        #expect(calledOff.published.isEmpty && exchange.own.rate.oneIn == 640)
        let again = size(65, 6, at: due)
        let later = try #require(again.wakes.first)
        #expect(later - due == due - start)
        // A further word does not move it.
        _ = size(66, 8, at: later + .seconds(-1))
        _ = exchange.handle(.added([entry(700)]), at: later + .milliseconds(-100))
        let early = exchange.handle(.timer, at: later + .nanoseconds(-1))
        #expect(early.published.isEmpty && exchange.own.rate.oneIn == 640)
        let effects = exchange.handle(.timer, at: later)
        #expect(exchange.own.rate.oneIn == 1_280 && exchange.own.epoch == 2)
        #expect(effects.published.last?.bytes == DigestMessage.moved(exchange.own.position).encoded())
        #expect(effects.saved.last == exchange.own.saved)
        // What waited was told under the old pages and is in the new ones.
        #expect(effects.published.count == 2)
        let same = CacheMapDigest(
            epoch: 1, hashKey: try hashKey(), clusterSize: 65, entries: (Array(0..<50) + [700]).map { entry($0) })
        #expect(exchange.own.root == same.root)
    }

    @Test func `a size that fits again calls the new pages off: the next one waits as long again`() throws {
        var exchange = try exchange(keys: 0..<50) { _ in }
        func size(_ size: Int, _ boot: UInt64, _ seconds: Int64) -> [MonotonicInstant] {
            exchange.handle(
                .member(other, isLive: false, bootID: boot, clusterSize: size), at: start + .seconds(seconds)
            ).wakes
        }
        let due = try #require(size(65, 1, 0).first)
        _ = size(64, 2, 1)
        #expect(size(65, 3, 3) == [due + .seconds(3)])
    }

    @Test func `nodes make new pages at different times`() throws {
        let waits = try (1...8 as ClosedRange<UInt64>).map { id in
            var exchange = MapExchange(
                selfID: PeerID(rawValue: id), own: try digest(keys: 0..<50), hashKey: try hashKey())
            return exchange.handle(.member(other, isLive: false, bootID: 1, clusterSize: 65), at: start).wakes
        }
        #expect(Set(waits).count == 8 || Set(waits).count == 7)
    }
}
