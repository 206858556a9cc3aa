import ClusterModel
import Testing

@testable import CacheMap

struct DigestTests {
    @Test(arguments: DigestPage.Encoding.allCases, [(8, 1), (64, 500), (64, 20_000), (512, 5_000)])
    func `no false negatives, and false hits within the promise`(
        encoding: DigestPage.Encoding, shape: (clusterSize: Int, count: Int)
    ) throws {
        var owner = try digest(keys: 0..<shape.count, clusterSize: shape.clusterSize) { $0.encoding = encoding }
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        #expect((0..<shape.count).allSatisfy { view.mayHold(peer, mapKey($0)) })
        let hits = view.falseHits(shape.count..<shape.count + 60_000)
        #expect(Double(hits) <= falseHitsMax(0.1 / Double(shape.clusterSize), 60_000), "\(hits)")
    }

    @Test func `a key counts as announced from the flush on`() throws {
        var owner = try digest(keys: 0..<10)
        owner.add(entry(10))
        #expect(owner.count == 11 && owner.announcedKeyCount == 10)
        _ = owner.flush(at: start)
        #expect(owner.announcedKeyCount == 11)
        owner.add(entry(11))
        owner.remove(mapKey(11))
        #expect(owner.count == 11 && owner.announcedKeyCount == 11)
    }

    @Test(arguments: [512, 1_200, 1_400]) func `pages cover the hash space and each fits its packet`(limit: Int) throws
    {
        let room = limit - 100
        var owner = try digest(keys: 0..<6_000) { $0.pageBytes = room }
        let pages = owner.pages()
        #expect(pages.count > 6_000 * 11 / 8 / room)
        #expect(pages.allSatisfy { $0.encoded().count <= room })
        #expect(PageTable(pages) != nil)
    }

    @Test(arguments: UInt64(0)..<12)
    func `a replica that gets the deltas equals its owner, key by key, through splits and merges`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var owner = try digest(keys: 0..<0) { $0.pageBytes = 420 }
        var view = PeerDigests(hashKey: try hashKey())
        var held: Set<Int> = []
        var next = 0
        for round in 0..<40 {
            let isGrowing = round < 20
            for _ in 0..<Int(random.next() % 120) {
                if isGrowing || random.next() % 4 == 0 {
                    held.insert(next)
                    owner.add(entry(next))
                    next += 1
                } else if let gone = held.randomElement(using: &random) {
                    held.remove(gone)
                    owner.remove(mapKey(gone))
                }
            }
            let epoch = owner.epoch
            let deltas = owner.flush(at: start)
            #expect(owner.epoch == epoch)
            try view.take(deltas)
            let position = view.position(of: peer) ?? MapPosition(epoch: owner.epoch, sequence: 0, root: 0)
            #expect(position == owner.position, "seed \(seed), round \(round)")
        }
        var fresh = PeerDigests(hashKey: try hashKey())
        try fresh.repair(from: &owner, .everything)
        #expect(owner.publishedCount == held.count)
        for number in 0..<next {
            #expect(!held.contains(number) || fresh.mayHold(peer, mapKey(number)))
            #expect(view.mayHold(peer, mapKey(number)) == held.contains(number), "seed \(seed), key \(number)")
        }
    }

    @Test func `keys that share a short hash are removed one by one`() throws {
        var owner = try digest(keys: 0..<0)
        let twins = try twins()
        owner.add(entry(twins.0))
        owner.add(entry(twins.1))
        #expect(owner.flush(at: start).flatMap(\.adds).count == 1)
        owner.remove(mapKey(twins.0))
        #expect(owner.flush(at: start).isEmpty)
        owner.remove(mapKey(twins.1))
        #expect(owner.flush(at: start).flatMap(\.removes).count == 1)
        #expect(owner.root == 0)
    }

    /// Two numbers whose keys share 32 bits of their hash: some 60,000 keys have such a pair.
    private func twins() throws -> (Int, Int) {
        var seen: [UInt32: Int] = [:]
        let hashKey = try hashKey()
        for number in 0..<400_000 {
            let short = MapDelta.short(hashKey.hash(mapKey(number)))
            if let other = seen[short] { return (other, number) }
            seen[short] = number
        }
        Issue.record("no twins")
        return (0, 0)
    }

    @Test func `what came and went within one batch is not told`() throws {
        var owner = try digest(keys: 0..<10)
        owner.add(entry(50))
        owner.remove(mapKey(50))
        owner.remove(mapKey(3))
        owner.add(entry(3))
        #expect(owner.flush(at: start).isEmpty)
    }

    @Test func `a gap is noticed, and what waited is applied`() throws {
        var owner = try digest(keys: 0..<10)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        var deltas: [MapDelta] = []
        for number in 10..<14 {
            owner.add(entry(number))
            deltas += owner.flush(at: start)
        }
        let ahead = view.apply(deltas[2], from: peer)
        #expect(ahead == .behind)
        #expect(!view.mayHold(peer, mapKey(12)))
        let next = view.apply(deltas[0], from: peer)
        #expect(next == .behind)
        let closed = view.apply(deltas[1], from: peer)
        #expect(closed == .applied)
        #expect(view.mayHold(peer, mapKey(12)))
        let observed = view.observe(owner.position, of: peer)
        #expect(observed == .behind)
        try view.repair(from: &owner, view.request(to: peer))
        #expect(view.mayHold(peer, mapKey(13)))
        #expect(view.position(of: peer) == owner.position)
        let again = view.apply(deltas[0], from: peer)
        #expect(again == .ignored)
    }

    @Test func `a delta applied twice, or a remove that is lost, is noticed by the root`() throws {
        var owner = try digest(keys: 0..<100)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        owner.remove(mapKey(5))
        owner.remove(mapKey(6))
        let delta = try #require(owner.flush(at: start).first)
        let forged = MapDelta(
            epoch: delta.epoch, sequence: delta.sequence, root: delta.root, isPartial: false, adds: [],
            removes: [delta.removes[0]])
        var other = view
        let lost = other.apply(forged, from: peer)
        #expect(lost == .unusable(.damaged))
        let first = view.apply(delta, from: peer)
        #expect(first == .applied)
        let same = view.apply(delta, from: peer)
        #expect(same == .ignored)
        #expect(view.position(of: peer) == owner.position)
        let twice = MapDelta(
            epoch: delta.epoch, sequence: delta.sequence + 1, root: delta.root ^ 1, isPartial: false, adds: delta.adds,
            removes: delta.removes)
        let second = view.apply(twice, from: peer)
        #expect(second == .unusable(.damaged))
    }

    @Test func `a gap beyond the log is repaired by the pages that changed`() throws {
        var owner = try digest(keys: 0..<9_000)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        let rounds = CacheMapDigest.logMax + 50
        for number in 0..<rounds {
            owner.add(entry(9_000 + number))
            owner.remove(mapKey(number))
            _ = owner.flush(at: start)
        }
        let request = view.request(to: peer)
        let answer = owner.answer(request, at: start)
        #expect(answer.allSatisfy { !$0.isWhole && $0.deltas.isEmpty })
        try view.repair(from: &owner, request)
        #expect(view.position(of: peer) == owner.position)
        #expect((rounds..<9_000 + rounds).allSatisfy { view.mayHold(peer, mapKey($0)) })
        #expect(view.falseHits(0..<rounds) < 10)
    }

    @Test func `deltas older than their lifetime are pages`() throws {
        var owner = try digest(keys: 0..<3_000)
        owner.add(entry(5_000))
        _ = owner.flush(at: start)
        let request = DigestRequest(epoch: 1, sequence: 0)
        #expect(owner.answer(request, at: start + CacheMapDigest.logLifetime).allSatisfy { $0.pages.isEmpty })
        let late = owner.answer(request, at: start + CacheMapDigest.logLifetime + .seconds(1))
        #expect(late.flatMap(\.pages).count == 1 && late.flatMap(\.deltas).isEmpty)
    }

    @Test func `most of a digest gone begins a new epoch`() throws {
        var owner = try digest(keys: 0..<2_000)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        for number in 0..<1_800 { owner.remove(mapKey(number)) }
        #expect(owner.flush(at: start).isEmpty)
        #expect(owner.epoch == 2)
        let outcome = view.observe(owner.position, of: peer)
        #expect(outcome == .unusable(.unknown))
        try view.repair(from: &owner, view.request(to: peer))
        #expect((1_800..<2_000).allSatisfy { view.mayHold(peer, mapKey($0)) })
        #expect(view.falseHits(0..<1_800) < 10)
    }

    @Test func `a restart with equal content goes on, one with other content begins anew`() throws {
        var owner = try digest(keys: 0..<500)
        owner.add(entry(600))
        _ = owner.flush(at: start)
        let saved = try SavedPosition(decoding: owner.saved.encoded())
        func restarted(_ keys: [Int]) throws -> CacheMapDigest {
            CacheMapDigest(
                epoch: 1, hashKey: try hashKey(), clusterSize: 1, entries: keys.map { entry($0) }, last: saved)
        }
        #expect(try restarted(Array(0..<500) + [600]).position == owner.position)
        let other = try restarted(Array(0..<500)).position
        #expect(other.epoch == 2 && other.sequence == 0)
    }

    @Test func `above the budget the most valuable keys are published, and the digest says so`() throws {
        var owner = try digest(keys: 0..<0) { $0.budget = 4_000 }
        for number in 0..<6_000 { owner.add(entry(number, cost: Double(number + 1))) }
        let deltas = owner.flush(at: start)
        #expect(owner.isPartial && deltas.last?.isPartial == true)
        #expect(owner.count == 6_000)
        #expect(owner.pages().reduce(0) { $0 + $1.encoded().count } <= 4_000)
        #expect(owner.publishedCount > 1_500)
        #expect(owner.isPublished(mapKey(5_999)) && !owner.isPublished(mapKey(0)))
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        #expect(view.promise(of: peer)?.isPartial == true)
        #expect(view.mayHold(peer, mapKey(5_990)))
        // Recency counts as much as cost.
        owner.add(entry(7_000, cost: 1, lastUsed: 30 * 86_400))
        #expect(owner.isPublished(mapKey(7_000)))
        for number in 1_000..<6_000 { owner.remove(mapKey(number)) }
        #expect(!owner.isPartial && owner.isPublished(mapKey(0)))
    }

    @Test func `holders are the live peers whose present boot has spoken, sorted`() throws {
        var owner = try digest(keys: 0..<5)
        var view = PeerDigests(hashKey: try hashKey())
        for id in [9, 3, 5] as [UInt64] {
            for answer in owner.answer(.everything, at: start) { _ = view.apply(answer, from: PeerID(rawValue: id)) }
        }
        #expect(view.holders(of: mapKey(1)).map(\.rawValue) == [3, 5, 9])
        view.setLive(PeerID(rawValue: 5), false)
        #expect(view.holders(of: mapKey(1)).map(\.rawValue) == [3, 9])
        view.setLive(PeerID(rawValue: 5), true)
        view.setRestarted(PeerID(rawValue: 3))
        #expect(view.holders(of: mapKey(1)).map(\.rawValue) == [5, 9])
        for answer in owner.answer(DigestRequest(epoch: 1, sequence: 0), at: start) {
            _ = view.apply(answer, from: PeerID(rawValue: 3))
        }
        #expect(view.holders(of: mapKey(1)).map(\.rawValue) == [3, 5, 9])
        view.forget(PeerID(rawValue: 3))
        #expect(view.holders(of: mapKey(1)).map(\.rawValue) == [5, 9])
    }

    @Test func `pages that do not cover everything are refused`() throws {
        var owner = try digest(keys: 0..<3_000)
        let whole = try #require(owner.answer(.everything, at: start).first)
        var view = PeerDigests(hashKey: try hashKey())
        for pages in [Array(whole.pages.dropFirst()), whole.pages + [whole.pages[0]], []] {
            let forged = DigestPages(
                position: whole.position, rate: whole.rate, isWhole: true, isFirst: true, isLast: true,
                isPartial: false, pages: pages, deltas: [])
            let outcome = view.apply(forged, from: peer)
            #expect(outcome == .unusable(.refused))
            #expect(view.holders(of: mapKey(1)).isEmpty)
        }
    }

    @Test func `a peer that denies too much is noticed after 200 answers`() throws {
        var owner = try digest(keys: 0..<500)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        let early = view.note(confirmed: 0, denied: 150, by: peer)
        let late = view.note(confirmed: 40, denied: 10, by: peer)
        let honest = view.note(confirmed: 197, denied: 3, by: peer)
        #expect(!early && late && !honest)
    }
}
