import ClusterModel
import Testing

@testable import CacheMap

/// What an owner sends to whom: deltas, the pages that changed, or all.
struct AnswerTests {
    @Test func `who is up to date gets nothing, who is of another history or ahead gets all`() throws {
        var owner = try digest(keys: 0..<2_000)
        owner.add(entry(5_000))
        _ = owner.flush(at: start)
        let nothing = owner.answer(DigestRequest(epoch: 1, sequence: 1), at: start)
        #expect(nothing.map(\.isWhole) == [false] && nothing[0].pages.isEmpty && nothing[0].deltas.isEmpty)
        for request in [
            DigestRequest(epoch: 1, sequence: 2), DigestRequest(epoch: 2, sequence: 1), .everything,
            DigestRequest(epoch: 0, sequence: 1),
        ] {
            let whole = owner.answer(request, at: start)
            #expect(whole.allSatisfy { $0.isWhole } && whole.flatMap(\.pages).count == owner.pages().count)
        }
        let delta = owner.answer(DigestRequest(epoch: 1, sequence: 0), at: start)
        #expect(delta.flatMap(\.deltas).map(\.sequence) == [1] && delta.flatMap(\.pages).isEmpty)
    }

    @Test func `deltas are sent while they are no longer than the pages that changed`() throws {
        var owner = try digest(keys: 0..<5) { $0.pageBytes = 190 }
        // One new key is a delta of 19 bytes, and all are in one page of 190.
        for number in 0..<11 {
            owner.add(entry(100 + number))
            let sizes = owner.flush(at: start).map(\.byteCount)
            #expect(sizes == [19])
        }
        let ten = owner.answer(DigestRequest(epoch: 1, sequence: 1), at: start)
        #expect(ten.flatMap(\.deltas).count == 10 && ten.flatMap(\.pages).isEmpty)
        let eleven = owner.answer(DigestRequest(epoch: 1, sequence: 0), at: start)
        #expect(eleven.flatMap(\.deltas).isEmpty && eleven.flatMap(\.pages).count == 1)
    }

    @Test func `pages that did not change make no deltas worth sending`() throws {
        var owner = try digest(keys: 0..<3_000)
        #expect(owner.pages().count >= 4)
        let hashKey = try hashKey()
        let inFirst = (10_000..<12_000).filter { hashKey.hash(mapKey($0)) >> 60 == 0 }.prefix(54)
        var sizes = 0
        for number in inFirst {
            owner.add(entry(number))
            sizes += owner.flush(at: start).reduce(0) { $0 + $1.byteCount }
        }
        #expect(sizes == 54 * 19 && sizes > 1_000)
        let answer = owner.answer(DigestRequest(epoch: 1, sequence: 0), at: start)
        #expect(answer.flatMap(\.deltas).isEmpty && answer.flatMap(\.pages).count == 1)
        let later = owner.answer(DigestRequest(epoch: 1, sequence: 2), at: start)
        #expect(later.flatMap(\.deltas).count == 52, "988 bytes for a page of 1,000")
    }

    @Test(arguments: [60, 61, 64, 70, 99]) func `no delta is longer than a page`(pageBytes: Int) throws {
        for count in 20..<60 {
            var owner = try digest(keys: 0..<100) { $0.pageBytes = pageBytes }
            for number in 0..<count { owner.add(entry(5_000 + number)) }
            for number in 0..<count where count % 2 == 0 { owner.remove(mapKey(number)) }
            let sizes = owner.flush(at: start).map { DigestMessage.delta($0).encoded().count }
            #expect(sizes.allSatisfy { $0 <= pageBytes }, "\(count)")
        }
    }

    @Test func `the newest 1,024 deltas are kept`() throws {
        var owner = try digest(keys: 0..<20_000)
        for number in 0..<1_025 {
            owner.add(entry(50_000 + number))
            _ = owner.flush(at: start)
        }
        let kept = owner.answer(DigestRequest(epoch: 1, sequence: 1), at: start)
        #expect(kept.flatMap(\.deltas).count == 1_024 && kept.flatMap(\.pages).isEmpty)
        let beyond = owner.answer(DigestRequest(epoch: 1, sequence: 0), at: start)
        #expect(beyond.flatMap(\.deltas).isEmpty && !beyond.flatMap(\.pages).isEmpty)
    }

    @Test func `what changed in a page raises its version, through splits and merges, and only what changed is sent`()
        throws
    {
        var owner = try digest(keys: 0..<3_000) { $0.pageBytes = 300 }
        #expect(owner.pages().allSatisfy { $0.version == 0 })
        var counts: [Int] = []
        /// Flushes, and compares with the pages before: each is the same or newer.
        func step() {
            let (sequence, before) = (owner.sequence, owner.pages())
            #expect(!owner.flush(at: start).isEmpty)
            let old = Dictionary(uniqueKeysWithValues: before.map { ($0.prefix, $0) })
            let pages = owner.pages()
            for page in pages { #expect(page.version > sequence || page == old[page.prefix]) }
            let late = owner.answer(
                DigestRequest(epoch: 1, sequence: sequence), at: start + CacheMapDigest.logLifetime + .seconds(1))
            #expect(late.flatMap(\.pages) == pages.filter { $0.version > sequence } && late.allSatisfy { !$0.isWhole })
            counts.append(pages.count)
        }
        owner.add(entry(9_000))
        step()
        #expect(owner.pages().count { $0.version == 1 } == 1)
        for first in stride(from: 10_000, to: 13_000, by: 250) {
            for number in first..<first + 250 { owner.add(entry(number)) }
            step()
        }
        let most = counts.last ?? 0
        #expect(most > counts[0], "pages were split")
        for first in stride(from: 10_000, to: 13_000, by: 250) {
            for number in first..<first + 250 { owner.remove(mapKey(number)) }
            step()
        }
        for first in stride(from: 0, to: 2_750, by: 250) {
            for number in first..<first + 250 { owner.remove(mapKey(number)) }
            step()
        }
        #expect(owner.epoch == 1 && (counts.last ?? most) < counts[0], "pages were merged")
    }

    @Test func `more pages than one message takes come in parts, of which the last says so`() throws {
        var owner = try digest(keys: 0..<32_000) { $0.pageBytes = 60 }
        let count = owner.pages().count
        #expect(count > 1_400 && count <= 2_100)
        let parts = owner.answer(.everything, at: start)
        #expect(parts.map(\.pages.count) == [700, 700, count - 1_400])
        #expect(parts.map(\.isFirst) == [true, false, false])
        #expect(parts.map(\.isLast) == [false, false, true])
        #expect(parts.allSatisfy { DigestMessage.pages($0).encoded().count <= DigestPages.encodedBytesMax })
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        #expect(view.position(of: peer) == owner.position)
        #expect((0..<32_000).allSatisfy { view.mayHold(peer, mapKey($0)) })
    }

    @Test func `a restarted owner's pages are as new as its history: who missed some of it gets them`() throws {
        var owner = try digest(keys: 0..<500)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        for number in 600..<605 {
            owner.add(entry(number))
            _ = owner.flush(at: start)
        }
        let held = (Array(0..<500) + Array(600..<605)).map { entry($0) }
        var restarted = CacheMapDigest(
            epoch: 9, hashKey: try hashKey(), clusterSize: 1, entries: held, last: owner.saved)
        #expect(restarted.position == owner.position && restarted.rate == owner.rate)
        let request = view.request(to: peer)
        try view.repair(from: &restarted, request)
        #expect((600..<605).allSatisfy { view.mayHold(peer, mapKey($0)) })
        let known = restarted.answer(DigestRequest(epoch: 1, sequence: 5), at: start)
        #expect(known.flatMap(\.pages).isEmpty)
    }

    @Test func `a history goes on for equal content and rate only, and a new one is above all before`() throws {
        let owner = try digest(keys: 0..<50)
        let saved = SavedPosition(
            position: MapPosition(epoch: 7, sequence: 3, root: owner.root), rate: FalseHitRate(oneIn: 640))
        func restarted(epoch: UInt32, keys: Range<Int>, fixed: FalseHitRate? = nil) throws -> CacheMapDigest {
            var settings = CacheMapDigest.Settings()
            settings.fixedRate = fixed
            return CacheMapDigest(
                epoch: epoch, hashKey: try hashKey(), clusterSize: 1, entries: keys.map { entry($0) },
                settings: settings, last: saved)
        }
        #expect(try restarted(epoch: 9, keys: 0..<50).position == saved.position)
        #expect(try restarted(epoch: 9, keys: 0..<50).rate.oneIn == 640)
        for (own, epoch) in [(1, 8), (7, 8), (9, 9)] as [(UInt32, UInt32)] {
            let other = try restarted(epoch: own, keys: 0..<51)
            #expect(other.epoch == epoch && other.sequence == 0, "\(own)")
            #expect(try restarted(epoch: own, keys: 0..<50, fixed: FalseHitRate(oneIn: 100)).epoch == epoch)
        }
        #expect(try digest(keys: 0..<1, epoch: 0).epoch == 1)
    }

    @Test(
        arguments: [
            (400, 256, 1), (400, 257, 2), (600, 300, 1), (600, 301, 2), (300, 256, 1), (300, 257, 2),
        ] as [(Int, Int, UInt32)]) func `a new history begins when more than half goes, and more than 256`(
            held: Int, gone: Int, epoch: UInt32
        ) throws
    {
        var owner = try digest(keys: 0..<0)
        for number in 0..<held { owner.add(entry(number)) }
        _ = owner.flush(at: start)
        for number in 0..<gone { owner.remove(mapKey(number)) }
        owner.add(entry(9_000))
        let deltas = owner.flush(at: start)
        #expect(owner.epoch == epoch && deltas.isEmpty == (epoch == 2))
        let same = CacheMapDigest(
            epoch: 1, hashKey: try hashKey(), clusterSize: 64,
            entries: (Array(gone..<held) + [9_000]).map { entry($0) })
        #expect(owner.root == same.root)
        #expect(owner.announcedKeyCount == held - gone + 1)
        // The log is that of this history.
        owner.add(entry(9_001))
        let sequence = owner.sequence
        let next = owner.flush(at: start)
        #expect(next.map(\.sequence) == [sequence + 1] && next[0].epoch == epoch)
        let answer = owner.answer(DigestRequest(epoch: epoch, sequence: sequence), at: start)
        #expect(answer.flatMap(\.deltas) == next)
        if epoch == 2 {
            #expect(answer[0].position == MapPosition(epoch: 2, sequence: 1, root: owner.root))
            // What was announced then is what half is counted of.
            for number in 0..<40 { owner.add(entry(20_000 + number)) }
            #expect(owner.flush(at: start).count == 1)
        }
    }

    @Test func `a key that went and came back before the flush is announced still`() throws {
        var owner = try digest(keys: 0..<10)
        owner.remove(mapKey(3))
        #expect(owner.announcedKeyCount == 9)
        owner.add(entry(3))
        #expect(owner.count == 10 && owner.announcedKeyCount == 10)
        #expect(owner.flush(at: start).isEmpty)
    }
}
