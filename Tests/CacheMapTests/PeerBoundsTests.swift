import ClusterModel
import Testing

@testable import CacheMap

/// What peers can make a node keep, and what it makes of their words: to the last one that is taken.
struct PeerBoundsTests {
    private func id(_ number: Int) -> PeerID { PeerID(rawValue: UInt64(number + 1)) }

    /// Empty pages that cover the hash space: 2^`depth` of them, and with `extra` one more.
    private func cover(_ depth: UInt8, extra: Bool = false) -> [DigestPage] {
        var prefixes = [DigestPrefix.whole]
        for _ in 0..<depth { prefixes = prefixes.flatMap { [$0.halves.0, $0.halves.1] } }
        if extra, let last = prefixes.popLast() { prefixes += [last.halves.0, last.halves.1] }
        return prefixes.map { DigestPage(prefix: $0, version: 1, content: .empty) }
    }

    private func answer(
        _ pages: [DigestPage], position: MapPosition = MapPosition(epoch: 1, sequence: 1, root: 0),
        isWhole: Bool = true, isFirst: Bool = true, isLast: Bool = true, deltas: [MapDelta] = []
    ) -> DigestPages {
        DigestPages(
            position: position, rate: FalseHitRate(oneIn: 160), isWhole: isWhole, isFirst: isFirst, isLast: isLast,
            isPartial: false, pages: pages, deltas: deltas)
    }

    /// The first deltas of a digest that was empty, each with one new hash.
    private func deltas(_ count: Int, epoch: UInt32 = 1) -> [MapDelta] {
        var root: UInt64 = 0
        return (1...UInt32(count)).map { number in
            root ^= MapPosition.mix(number)
            return MapDelta(
                epoch: epoch, sequence: number, root: UInt32(truncatingIfNeeded: root), isPartial: false,
                adds: [number], removes: [])
        }
    }

    @Test func `a peer has 4,096 pages and no more, in one part or in many`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        let (most, more) = (cover(12), cover(12, extra: true))
        #expect(most.count == 4_096 && more.count == 4_097)
        let refused = view.apply(answer(more), from: peer)
        #expect(refused == .unusable(.refused) && view.position(of: peer) == nil)
        let taken = view.apply(answer(most), from: peer)
        #expect(taken == .applied && view.position(of: peer)?.sequence == 1)
        for pages in [most, more] {
            let first = view.apply(answer(Array(pages[..<2_000]), isLast: false), from: id(1))
            let last = view.apply(answer(Array(pages[2_000...]), isFirst: false), from: id(1))
            #expect(first == .applied && last == (pages.count == 4_096 ? .applied : .unusable(.refused)))
            let stray = view.apply(answer(Array(pages[2_000...]), isFirst: false), from: id(1))
            #expect(stray == .unusable(.refused), "the answer was over with its last part")
        }
        // What came before a first part is no part of it, and an answer is over with its last.
        _ = view.apply(answer(Array(most[..<9]), isLast: false), from: id(2))
        let anew = view.apply(answer(most), from: id(2))
        #expect(anew == .applied)
        let behind = view.apply(answer([], isFirst: false), from: id(2))
        #expect(behind == .unusable(.refused))
    }

    @Test func `all peers together have 196,608 pages, and who is forgotten makes room`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        let most = answer(cover(12))
        for number in 0..<48 {
            let outcome = view.apply(most, from: id(number))
            #expect(outcome == .applied, "\(number)")
        }
        let one = answer(cover(0))
        let refused = view.apply(one, from: id(48))
        #expect(refused == .unusable(.refused))
        // The own pages of a peer are replaced, not added.
        let again = view.apply(most, from: id(3))
        #expect(again == .applied)
        view.forget(id(7))
        let fits = view.apply(most, from: id(48))
        let full = view.apply(one, from: id(49))
        #expect(fits == .applied && full == .unusable(.refused))
        let less = view.apply(one, from: id(3))
        let room = view.apply(one, from: id(49))
        #expect(less == .applied && room == .applied)
    }

    @Test func `4,096 members have a digest, whoever says so, and those are kept up`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        let untouched = MapPosition(epoch: 1, sequence: 0, root: 0)
        for number in 0..<4_095 { _ = view.observe(untouched, of: id(number)) }
        var (byDelta, byPages) = (view, view)
        let steps = deltas(2)
        let last = [
            view.observe(untouched, of: id(4_095)), byDelta.apply(steps[0], from: id(4_095)),
            byPages.apply(answer(cover(0)), from: id(4_095)),
        ]
        #expect(last == [.applied, .applied, .applied])
        let beyond = [
            view.observe(untouched, of: id(4_096)), byDelta.apply(steps[0], from: id(4_096)),
            byPages.apply(answer(cover(0)), from: id(4_096)),
        ]
        #expect(beyond == [.unusable(.unknown), .unusable(.unknown), .unusable(.refused)])
        let known = [
            view.apply(steps[0], from: id(9)), view.apply(deltas(1, epoch: 2)[0], from: id(9)),
            view.apply(answer(cover(0)), from: id(10)),
        ]
        #expect(known == [.applied, .applied, .applied] && view.usableCount == 4_096)
    }

    @Test func `64 deltas wait beyond a gap, and are applied when it closes`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        _ = view.observe(MapPosition(epoch: 1, sequence: 0, root: 0), of: peer)
        let steps = deltas(67)
        for delta in steps[1...] {
            let outcome = view.apply(delta, from: peer)
            #expect(outcome == .behind)
        }
        let closed = view.apply(steps[0], from: peer)
        #expect(closed == .applied && view.position(of: peer)?.sequence == 65)
        let known = view.apply(steps[64], from: peer)
        #expect(known == .ignored && view.position(of: peer)?.sequence == 65)
        let gap = view.apply(steps[66], from: peer)
        #expect(gap == .behind)
        // One that had waited and came again by itself is no gap.
        let next = view.apply(steps[65], from: peer)
        #expect(next == .applied && view.position(of: peer)?.sequence == 67)
    }

    @Test func `what comes during a fetch is applied behind its answer, 64 deltas at most`() throws {
        let steps = deltas(80)
        let root = (1...10).reduce(0 as UInt64) { $0 ^ MapPosition.mix(UInt32($1)) }
        for (count, sequence) in [(1, 11), (64, 74), (65, 74)] as [(Int, UInt32)] {
            var view = PeerDigests(hashKey: try hashKey())
            view.beginFetch(from: peer)
            for delta in steps[10..<10 + count] {
                let early = view.apply(delta, from: peer)
                #expect(early == .unusable(.unknown))
            }
            let other = view.apply(deltas(70, epoch: 3)[20], from: peer)
            #expect(other == .unusable(.unknown))
            let outcome = view.apply(
                answer(cover(0), position: MapPosition(epoch: 1, sequence: 10, root: root)), from: peer)
            #expect(outcome == .applied && view.position(of: peer)?.sequence == sequence, "\(count)")
        }
        var view = PeerDigests(hashKey: try hashKey())
        view.beginFetch(from: peer)
        _ = view.apply(steps[11], from: peer)
        let gap = view.apply(answer(cover(0), position: MapPosition(epoch: 1, sequence: 10, root: root)), from: peer)
        #expect(gap == .behind, "delta 11 is missing")
        view.endFetch(from: peer)
        _ = view.apply(deltas(1, epoch: 4)[0], from: id(5))
        let late = view.apply(answer(cover(0), position: MapPosition(epoch: 1, sequence: 10, root: root)), from: peer)
        #expect(late == .applied && view.position(of: peer)?.sequence == 10, "a fetch's deltas go with it")
    }

    @Test func `16,384 changes are kept beside pages; with more, pages are shorter`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        _ = view.apply(answer(cover(0), position: MapPosition(epoch: 1, sequence: 1, root: 0)), from: peer)
        var root: UInt64 = 0
        var outcomes: [PeerDigests.Outcome] = []
        for (sequence, range) in [(2, 0..<8_192), (3, 8_192..<16_384), (4, 16_384..<16_385)]
            as [(UInt32, Range<UInt32>)]
        {
            for short in range { root ^= MapPosition.mix(short) }
            let delta = MapDelta(
                epoch: 1, sequence: sequence, root: UInt32(truncatingIfNeeded: root), isPartial: false,
                adds: Array(range), removes: [])
            outcomes.append(view.apply(delta, from: peer))
        }
        #expect(outcomes == [.applied, .applied, .unusable(.full)])
    }

    @Test func `a word on a digest is compared with what is known of it`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        let position = MapPosition(epoch: 5, sequence: 2, root: 9)
        func observe(_ epoch: UInt32, _ sequence: UInt32, _ root: UInt64) -> PeerDigests.Outcome {
            view.observe(MapPosition(epoch: epoch, sequence: sequence, root: root), of: peer)
        }
        let strange = [observe(5, 2, 9), observe(0, 0, 0), observe(5, 0, 3), observe(5, 1, 0)]
        #expect(strange.allSatisfy { $0 == .unusable(.unknown) } && view.promise(of: peer) == nil)
        _ = view.apply(answer(cover(0), position: position), from: peer)
        let words = [
            observe(5, 2, 9), observe(5, 3, 9), observe(6, 0, 0), observe(5, 1, 9), observe(4, 9, 9), observe(5, 2, 8),
        ]
        #expect(
            words == [.applied, .behind, .unusable(.unknown), .ignored, .ignored, .unusable(.damaged)])
        #expect(view.position(of: peer) == position)
    }

    @Test func `deltas of a history that is over are ignored, and the first of a new one begins it`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        _ = view.apply(deltas(1, epoch: 5)[0], from: peer)
        #expect(view.position(of: peer)?.epoch == 5)
        let steps = (old: deltas(3, epoch: 4), new: deltas(3, epoch: 6))
        let old = [view.apply(steps.old[0], from: peer), view.apply(steps.old[1], from: peer)]
        #expect(old == [.ignored, .ignored] && view.position(of: peer)?.epoch == 5)
        let later = view.apply(steps.new[1], from: peer)
        #expect(later == .unusable(.unknown), "the first is missing")
        view.setLive(peer, false)
        let first = view.apply(steps.new[0], from: peer)
        #expect(first == .applied && view.position(of: peer) == nil, "who is dead does not live by a late record")
        view.setLive(peer, true)
        #expect(view.position(of: peer)?.epoch == 6)
        // A digest that was not empty before its first delta is fetched.
        let forged = MapDelta(epoch: 7, sequence: 1, root: 1, isPartial: false, adds: [1], removes: [])
        let notEmpty = view.apply(forged, from: peer)
        #expect(notEmpty == .unusable(.unknown))
    }

    @Test func `a new boot's deltas count when it has said where it stands`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        let steps = deltas(3)
        _ = view.apply(steps[0], from: peer)
        view.setRestarted(peer)
        let early = view.apply(steps[1], from: peer)
        #expect(early == .unusable(.unknown) && view.position(of: peer) == nil && view.usableCount == 0)
        #expect(!view.mayHold(peer, mapKey(1)) && view.holders(of: mapKey(1)).isEmpty)
        let word = view.apply(
            answer([], position: MapPosition(epoch: 1, sequence: 1, root: MapPosition.mix(1)), isWhole: false),
            from: peer)
        #expect(word == .applied && view.position(of: peer)?.sequence == 1)
        let next = view.apply(steps[1], from: peer)
        #expect(next == .applied)
    }

    @Test func `changed pages are of the same history, not older than what is known, and end where they say`() throws {
        var view = PeerDigests(hashKey: try hashKey())
        let steps = deltas(5)
        for delta in steps[..<3] { _ = view.apply(delta, from: peer) }
        let known = try #require(view.position(of: peer))
        let other = view.apply(
            answer(cover(0), position: MapPosition(epoch: 2, sequence: 4, root: 0), isWhole: false), from: peer)
        #expect(other == .unusable(.unknown))
        let older = view.apply(
            answer(cover(0), position: MapPosition(epoch: 1, sequence: 2, root: 0), isWhole: false), from: peer)
        #expect(older == .applied && view.position(of: peer) == known, "gossip was faster")
        let root = MapPosition.mix(4) ^ known.root
        let short = view.apply(
            answer([], position: MapPosition(epoch: 1, sequence: 5, root: root), isWhole: false, deltas: [steps[3]]),
            from: peer)
        #expect(short == .unusable(.damaged) && view.position(of: peer) == known)
        let same = view.apply(
            answer([], position: MapPosition(epoch: 1, sequence: 3, root: known.root ^ 1), isWhole: false), from: peer)
        #expect(same == .unusable(.damaged), "equal places have equal roots")
        let wrong = MapDelta(epoch: 1, sequence: 4, root: 1, isPartial: false, adds: [4], removes: [])
        let damaged = view.apply(
            answer([], position: MapPosition(epoch: 1, sequence: 4, root: root), isWhole: false, deltas: [wrong]),
            from: peer)
        #expect(damaged == .unusable(.damaged))
        let right = view.apply(
            answer([], position: MapPosition(epoch: 1, sequence: 4, root: root), isWhole: false, deltas: [steps[3]]),
            from: peer)
        #expect(right == .applied && view.position(of: peer)?.sequence == 4)
        let gap = view.apply(
            answer(Array(cover(1).dropFirst()), position: MapPosition(epoch: 1, sequence: 5, root: 0), isWhole: false),
            from: id(9))
        #expect(gap == .unusable(.unknown))
    }

    @Test(arguments: [(195, 5, true), (196, 4, false), (194, 5, false), (976, 24, false), (975, 25, true)])
    func `200 answers are judged: three times the promise and two in a hundred are forgiven`(
        confirmed: Int, denied: Int, isTooMuch: Bool
    ) throws {
        var owner = try digest(keys: 0..<5)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        #expect(owner.rate.oneIn == 640)
        let verdict = view.note(confirmed: confirmed, denied: denied, by: peer)
        #expect(verdict == isTooMuch)
        // Counted anew after each verdict, and after a whole digest.
        let rest = view.note(confirmed: 0, denied: confirmed + denied < 200 ? 1 : 199, by: peer)
        #expect(rest == (confirmed + denied < 200))
        try view.repair(from: &owner, .everything)
        let fresh = view.note(confirmed: 0, denied: 199, by: peer)
        #expect(!fresh)
    }

    @Test func `changed pages take the place of what changed in their part, no more and no less`() throws {
        let (low, high) = (DigestPrefix.whole.halves.0, DigestPrefix.whole.halves.1)
        let shorts: [UInt32] = [0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]
        let root = shorts.reduce(0 as UInt64) { $0 ^ MapPosition.mix($1) }
        for (replaced, kept) in [(low, [false, true, true]), (high, [true, false, false])] {
            var view = PeerDigests(hashKey: try hashKey())
            _ = view.apply(answer(cover(1), position: MapPosition(epoch: 1, sequence: 1, root: 0)), from: peer)
            let delta = MapDelta(
                epoch: 1, sequence: 2, root: UInt32(truncatingIfNeeded: root), isPartial: false, adds: shorts,
                removes: [])
            _ = view.apply(delta, from: peer)
            // It waits, and is older than the pages that come.
            _ = view.apply(
                MapDelta(epoch: 1, sequence: 4, root: 0, isPartial: false, adds: [9], removes: []), from: peer)
            let pages = DigestPages(
                position: MapPosition(epoch: 1, sequence: 5, root: 0), rate: FalseHitRate(oneIn: 320), isWhole: false,
                isFirst: true, isLast: true, isPartial: true,
                pages: [DigestPage(prefix: replaced, version: 5, content: .empty)], deltas: [])
            let outcome = view.apply(pages, from: peer)
            #expect(outcome == .applied, "nothing is missing any more")
            #expect(shorts.map { view.views[peer]?.mayHold(UInt64($0) << 32) } == kept)
            let promise = view.promise(of: peer)
            #expect(promise?.rate.oneIn == 320 && promise?.isPartial == true)
        }
    }

    @Test func `who is dead, or has not spoken since its start, holds nothing`() throws {
        var owner = try digest(keys: 0..<5)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        func holds() -> Bool { view.mayHold(peer, mapKey(1)) }
        #expect(holds() && view.holders(of: mapKey(1)) == [peer])
        view.setLive(peer, false)
        #expect(!holds() && view.holders(of: mapKey(1)).isEmpty && view.usableCount == 0)
        // A whole answer that comes late does not bring it back to life.
        try view.repair(from: &owner, .everything)
        #expect(!holds() && view.position(of: peer) == nil)
        view.setLive(peer, true)
        #expect(holds() && view.position(of: peer) == owner.position)
        view.setRestarted(peer)
        #expect(!holds() && view.holders(of: mapKey(1)).isEmpty && view.position(of: peer) == nil)
    }

    @Test func `a part of a digest is marked as such, by pages and by deltas`() throws {
        var owner = try digest(keys: 0..<3_000) { $0.budget = 2_000 }
        #expect(owner.isPartial)
        var view = PeerDigests(hashKey: try hashKey())
        try view.repair(from: &owner, .everything)
        #expect(view.promise(of: peer)?.isPartial == true && view.promise(of: peer)?.rate.oneIn == 640)
        let partial = MapDelta(
            epoch: 1, sequence: 1, root: UInt32(truncatingIfNeeded: MapPosition.mix(5)), isPartial: true, adds: [5],
            removes: [])
        for isPartial in [true, false] {
            var other = PeerDigests(hashKey: try hashKey())
            let delta = MapDelta(
                epoch: 1, sequence: 1, root: partial.root, isPartial: isPartial, adds: [5], removes: [])
            try other.take([delta])
            #expect(other.promise(of: peer)?.isPartial == isPartial)
        }
        for number in 0..<3_000 { owner.remove(mapKey(number)) }
        owner.add(entry(4_000))
        _ = owner.flush(at: start)
        #expect(!owner.isPartial)
        try view.repair(from: &owner, view.request(to: peer))
        #expect(view.promise(of: peer)?.isPartial == false)
    }
}
