import ClusterModel
import Testing

@testable import CacheMap

/// What is published of more keys than the budget pays for: to the key.
struct BudgetTests {
    /// A digest whose budget pays for exactly 100 keys; each costs a second more than the one before.
    private func digest(keys: Range<Int>, step: Double = 1) throws -> CacheMapDigest {
        var settings = CacheMapDigest.Settings()
        let perPage = DigestPage.capacity(
            bytes: settings.pageBytes, rate: FalseHitRate(clusterSize: 64), encoding: settings.encoding)
        settings.budget = (100 * settings.pageBytes + perPage - 1) / perPage
        return CacheMapDigest(
            epoch: 1, hashKey: try hashKey(), clusterSize: 64, entries: keys.map { costly($0) }, settings: settings)
    }

    private func costly(_ number: Int) -> MapEntry { entry(number, cost: Double(number + 1)) }

    private func published(_ owner: CacheMapDigest, of keys: Range<Int>) -> [Int] {
        keys.filter { owner.isPublished(mapKey($0)) }
    }

    @Test func `as many keys as the budget pays for are published, with one more the best nine tenths`() throws {
        var owner = try digest(keys: 0..<100)
        #expect(!owner.isPartial && owner.publishedCount == 100)
        owner.add(costly(100))
        #expect(owner.isPartial && owner.count == 101)
        #expect(published(owner, of: 0..<101) == Array(11..<101))
        let restarted = try digest(keys: 0..<101)
        #expect(restarted.isPartial && published(restarted, of: 0..<101) == Array(11..<101))
        var grown = try digest(keys: 0..<0)
        for number in 0..<100 { grown.add(costly(number)) }
        #expect(!grown.isPartial && grown.publishedCount == 100)
    }

    @Test func `what is worth as much as the least that is published is published, what is worth less is held`() throws
    {
        var owner = try digest(keys: 0..<101)
        owner.add(entry(500, cost: 12))
        #expect(owner.publishedCount == 91 && owner.isPublished(mapKey(500)))
        owner.add(entry(501, cost: 11.9))
        #expect(owner.publishedCount == 91 && !owner.isPublished(mapKey(501)) && owner.count == 103)
        // Room is used up to the budget, and not beyond.
        for number in 600..<609 { owner.add(entry(number, cost: 500)) }
        #expect(owner.publishedCount == 100)
        owner.add(entry(609, cost: 500))
        #expect(owner.publishedCount == 90 && published(owner, of: 600..<610).count == 10)
    }

    @Test func `below seven tenths of the budget the next best are published again`() throws {
        var owner = try digest(keys: 0..<300)
        #expect(published(owner, of: 0..<300) == Array(210..<300))
        for number in 280..<300 { owner.remove(mapKey(number)) }
        #expect(published(owner, of: 0..<300) == Array(210..<280))
        owner.remove(mapKey(279))
        #expect(published(owner, of: 0..<300) == Array(189..<279))
        #expect(owner.isPartial)
        for number in 100..<279 { owner.remove(mapKey(number)) }
        #expect(owner.isPartial && owner.publishedCount == 84 && owner.count == 100)
        for number in 85..<100 { owner.remove(mapKey(number)) }
        #expect(!owner.isPartial && owner.publishedCount == 85)
    }

    @Test func `a result is worth its cost, halved each day that nobody used it`() {
        let day: Int64 = 86_400
        #expect(abs(entry(1, cost: 4, lastUsed: 0).rank - entry(1, cost: 1, lastUsed: 2 * day).rank) < 1e-9)
        #expect(entry(1, cost: 4.01, lastUsed: 0).rank > entry(1, cost: 1, lastUsed: 2 * day).rank)
        for (odd, same) in [(0, 0.01), (-3, 0.01), (.infinity, 0.01), (.nan, 0.01), (1e12, 1e9)] as [(Double, Double)] {
            #expect(entry(1, cost: odd).rank == entry(1, cost: same).rank, "\(odd)")
        }
        #expect(entry(1, cost: 0.02).rank > entry(1, cost: 0.01).rank)
        #expect(entry(1, cost: 1e9).rank > entry(1, cost: 1e8).rank)
    }

    @Test func `a key is worth the most that was ever said of it`() throws {
        var owner = try digest(keys: 0..<101)
        owner.add(entry(100, cost: 0.1))
        owner.add(entry(0, cost: 1_000))
        #expect(owner.isPublished(mapKey(0)) && owner.publishedCount == 91)
        for number in 600..<610 { owner.add(entry(number, cost: 500)) }
        #expect(owner.publishedCount == 90)
        #expect(owner.isPublished(mapKey(100)) && owner.isPublished(mapKey(0)))
    }

    @Test func `a key that is added again is published once and gone with its removal`() throws {
        var owner = try digest(keys: 0..<10)
        owner.add(costly(3))
        #expect(owner.publishedCount == 10 && !owner.hasChanges)
        owner.remove(mapKey(3))
        #expect(owner.publishedCount == 9)
        #expect(owner.flush(at: start).map(\.removes.count) == [1])
        owner.remove(mapKey(3))
        #expect(!owner.hasChanges)
    }

    @Test func `finer pages hold fewer keys: the digest is cut again, and the root is that of what is left`() throws {
        var owner = try digest(keys: 0..<100)
        owner.setRate(FalseHitRate(clusterSize: 128))
        #expect(owner.isPartial && owner.publishedCount < 90 && owner.epoch == 2 && owner.sequence == 0)
        #expect(!owner.hasChanges)
        #expect(owner.root == (try root(owner, of: 0..<100)))
        let cut = owner.publishedCount
        owner.setRate(FalseHitRate(clusterSize: 16))
        #expect(!owner.isPartial && owner.publishedCount == 100 && cut < 100)
        #expect(owner.root == (try root(owner, of: 0..<100)))
        owner.setRate(FalseHitRate(clusterSize: 16))
        #expect(owner.epoch == 3, "the same rate is nothing new")
    }

    @Test func `finer pages that hold as many keys as there are hold them all`() throws {
        var settings = CacheMapDigest.Settings()
        settings.budget = try digest(keys: 0..<0).settings.budget
        for (count, published) in [(100, 100), (101, 90)] {
            var owner = CacheMapDigest(
                epoch: 1, hashKey: try hashKey(), clusterSize: 16, entries: (0..<count).map { costly($0) },
                settings: settings)
            #expect(!owner.isPartial)
            owner.setRate(FalseHitRate(clusterSize: 64))
            #expect(owner.publishedCount == published && owner.isPartial == (count > 100))
        }
    }

    // MARK: Use

    private static let day: Int64 = 86_400

    @Test func `a key that is used is published once it is worth twice the least that is`() throws {
        var owner = try digest(keys: 0..<101)
        #expect(!owner.isPublished(mapKey(5)) && owner.isPublished(mapKey(11)))
        // It cost half as much as the least: two days make it worth twice as much.
        owner.use(entry(5, cost: 6, lastUsed: 2 * Self.day - 60))
        #expect(!owner.isPublished(mapKey(5)) && !owner.hasChanges)
        owner.use(entry(5, cost: 6, lastUsed: 2 * Self.day + 60))
        #expect(owner.isPublished(mapKey(5)) && owner.publishedCount == 91)
        // What was removed meanwhile does not come back by its use.
        owner.use(entry(999, cost: 500, lastUsed: 90 * Self.day))
        #expect(!owner.isPublished(mapKey(999)) && owner.count == 101)
    }

    @Test func `a key in use stays published while newer ones come that nobody uses`() throws {
        var owner = try digest(keys: 0..<101)
        owner.use(entry(11, cost: 12, lastUsed: 30 * Self.day))
        for number in 1_000..<1_300 { owner.add(entry(number, cost: 12, lastUsed: 20 * Self.day)) }
        #expect(owner.isPublished(mapKey(11)) && !owner.isPublished(mapKey(12)) && owner.publishedCount <= 100)
        // One that waited for its gain is chosen with the best when the budget is exceeded.
        owner.use(entry(12, cost: 13, lastUsed: 20 * Self.day + Self.day / 2))
        #expect(!owner.isPublished(mapKey(12)))
        for number in 2_000..<2_020 { owner.add(entry(number, cost: 12, lastUsed: 20 * Self.day)) }
        #expect(owner.isPublished(mapKey(12)))
    }

    @Test func `keys that are used in turn, more than the budget pays for, do not take each other's place`() throws {
        var owner = CacheMapDigest(
            epoch: 1, hashKey: try hashKey(), clusterSize: 64, entries: (0..<300).map { entry($0) },
            settings: try digest(keys: 0..<0).settings)
        let before = published(owner, of: 0..<300)
        #expect(before.count == 90)
        for minute in 1...600 {
            for number in 0..<300 where number % 10 == minute % 10 {
                owner.use(entry(number, lastUsed: Int64(minute) * 60))
            }
        }
        #expect(!owner.hasChanges && published(owner, of: 0..<300) == before)
        #expect(owner.flush(at: start).isEmpty)
    }

    @Test func `what a use publishes is told with the next batch`() throws {
        var exchange = MapExchange(selfID: ownID, own: try digest(keys: 0..<101), hashKey: try hashKey())
        let quiet = exchange.handle(.used([costly(50), costly(3)]), at: start)
        #expect(quiet.isEmpty)
        let used = exchange.handle(.used([entry(3, cost: 4, lastUsed: 9 * Self.day)]), at: start)
        #expect(used == [.wake(at: start + .seconds(1))])
        let due = exchange.handle(.timer, at: start + .seconds(1))
        #expect(due.contains { if case .publish(_, isUrgent: false) = $0 { true } else { false } })
        #expect(exchange.counters.deltasPublished == 1 && exchange.own.isPublished(mapKey(3)))
    }

    /// What the root of a digest should be: of each published key once.
    private func root(_ owner: CacheMapDigest, of keys: Range<Int>) throws -> UInt64 {
        let hashKey = try hashKey()
        return published(owner, of: keys).reduce(0) {
            $0 ^ MapPosition.mix(MapDelta.short(hashKey.hash(mapKey($1))))
        }
    }
}
