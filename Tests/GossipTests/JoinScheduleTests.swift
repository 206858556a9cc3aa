import ClusterModel
import Testing

@testable import Gossip

/// When seeds and remembered members are asked.
struct JoinScheduleTests {
    private static let peer = PeerID(rawValue: 9)
    private static func after(_ milliseconds: Int64) -> MonotonicInstant { .zero + .milliseconds(milliseconds) }

    private static func snapshots(_ numbers: ClosedRange<UInt16>) -> [MemberSnapshot] {
        numbers.map {
            MemberSnapshot(
                id: PeerID(rawValue: UInt64($0)), name: "n\($0)", address: PeerAddress(host: "h", port: $0))
        }
    }

    private var random = SplitMix64(seed: 1)

    private func schedule(seeds: [PeerAddress] = [Bench.address(2)]) -> JoinSchedule {
        var joining = JoinSchedule(remembered: [], own: Bench.id)
        joining.replaceSeeds(seeds, at: .zero)
        return joining
    }

    // MARK: Seeds

    @Test mutating func `a seed that fails is asked after 1, 2, 4 … 60 seconds, each a tenth more or less`() {
        var joining = schedule()
        var now = MonotonicInstant.zero
        var news: [Bool] = []
        for expected in [1.0, 2, 4, 8, 16, 32, 60, 60, 60] {
            #expect(joining.dueSeeds(at: now).count == 1)
            joining.asked(Bench.address(2))
            #expect(joining.dueSeeds(at: now + .seconds(999)).isEmpty, "while it is asked")
            news.append(joining.failed(Bench.address(2), at: now, random: &random))
            guard let due = joining.seeds.first?.nextAt else { return #expect(Bool(false)) }
            let wait = (due - now).inSeconds
            #expect(wait >= expected * 0.9 && wait <= expected * 1.1 && wait != expected)
            #expect(joining.dueSeeds(at: now + .seconds(wait * 0.99)).isEmpty)
            now = due
        }
        #expect(news == [true] + [Bool](repeating: false, count: 8), "told once")
        let isNews = joining.answered(Bench.address(2), by: Self.peer, at: now)
        #expect(isNews)
        // It begins again, after a look every 5 seconds.
        #expect(joining.dueSeeds(at: now + .milliseconds(4_999)).isEmpty)
        #expect(joining.dueSeeds(at: now + .seconds(5)).map(\.peer) == [Self.peer])
        let isFirst = joining.failed(Bench.address(2), at: now, random: &random)
        #expect(isFirst && joining.dueSeeds(at: now + .milliseconds(1_100)).count == 1)
    }

    @Test mutating func `an answer is news from somebody new or after failures`() {
        var joining = schedule()
        var news = [
            joining.answered(Bench.address(2), by: Self.peer, at: .zero),
            joining.answered(Bench.address(2), by: Self.peer, at: .zero),
            joining.answered(Bench.address(2), by: Bench.id, at: .zero),
        ]
        #expect(news == [true, false, true])
        _ = joining.failed(Bench.address(2), at: .zero, random: &random)
        news = [
            joining.answered(Bench.address(2), by: Bench.id, at: .zero),
            joining.answered(Bench.address(3), by: Bench.id, at: .zero),
            joining.failed(Bench.address(3), at: .zero, random: &random),
        ]
        #expect(news == [true, false, false], "and an address that is no seed any more says nothing")
    }

    @Test mutating func `a seed that is a member is looked at every 5 seconds`() {
        var joining = schedule()
        joining.postpone(Bench.address(2), at: .zero)
        #expect(joining.dueSeeds(at: Self.after(4_999)).isEmpty && joining.dueSeeds(at: Self.after(5_000)).count == 1)
    }

    @Test mutating func `seeds that stay keep their state, and 64 different ones are taken`() {
        var joining = schedule()
        _ = joining.failed(Bench.address(2), at: .zero, random: &random)
        joining.replaceSeeds([Bench.address(3), Bench.address(2), Bench.address(3)], at: Self.after(10))
        #expect(joining.seeds.map(\.address) == [Bench.address(3), Bench.address(2)])
        #expect(joining.seeds.map(\.failures) == [0, 1])
        #expect(joining.dueSeeds(at: Self.after(10)).map(\.address) == [Bench.address(3)])
        joining.replaceSeeds((1...70).map { PeerAddress(host: "h", port: $0) }, at: .zero)
        #expect(joining.seeds.count == 64)
    }

    // MARK: Names

    @Test mutating func `names are looked up when a seed is due, one look at a time, which ends after 5 seconds`() {
        var joining = schedule()
        var wants = [joining.wantsLookUp(at: .zero, hasDue: false, random: &random)]
        wants.append(joining.wantsLookUp(at: .zero, hasDue: true, random: &random))
        wants.append(joining.wantsLookUp(at: Self.after(1), hasDue: true, random: &random))
        #expect(wants == [false, true, false])
        #expect(joining.nextAt == Self.after(5_000))
        let gaveUp = [4_999, 5_000, 5_001].map { joining.gaveUpLookUp(at: Self.after($0)) }
        #expect(gaveUp == [false, true, false])
        wants = [joining.wantsLookUp(at: Self.after(5_001), hasDue: true, random: &random)]
        joining.lookedUp(at: Self.after(5_002))
        wants.append(joining.gaveUpLookUp(at: Self.after(99_000)))
        #expect(wants == [true, false])
    }

    @Test mutating func `names that mean seeds are looked up once a minute, those that mean none more often`() {
        func waits(_ joining: inout JoinSchedule) -> [Double] {
            var now = MonotonicInstant.zero
            return (0..<8).map { _ in
                let began = now
                while !joining.wantsLookUp(at: now, hasDue: false, random: &random) { now = now + .milliseconds(50) }
                joining.lookedUp(at: now)
                return (now - began).inSeconds
            }
        }
        var some = schedule()
        for wait in waits(&some) { #expect(wait >= 54 && wait <= 66.1) }
        var none = schedule(seeds: [])
        let vain = waits(&none)
        for (wait, expected) in zip(vain, [1.0, 2, 4, 8, 16, 32, 60, 60]) {
            #expect(wait >= expected * 0.9 && wait <= expected * 1.1 + 0.1)
        }
        // Once they mean something, it begins again.
        none.replaceSeeds([Bench.address(2)], at: .zero)
        none.lookedUp(at: .zero)
        none.replaceSeeds([], at: .zero)
        var now = MonotonicInstant.zero + .seconds(10_000)
        _ = none.wantsLookUp(at: now, hasDue: false, random: &random)
        none.lookedUp(at: now)
        let began = now
        while !none.wantsLookUp(at: now, hasDue: false, random: &random) { now = now + .milliseconds(50) }
        #expect(now - began <= .milliseconds(2_250))
    }

    // MARK: Remembered members

    @Test mutating func `a node alone asks three remembered members at a time, in turn, and slower after a lap`() {
        var joining = JoinSchedule(remembered: Self.snapshots(2...6), own: Bench.id)
        joining.replaceSeeds([], at: .zero)
        #expect(joining.nextAt == .zero)
        var now = MonotonicInstant.zero
        var asked: [UInt16] = []
        var waits: [Double] = []
        for _ in 0..<6 {
            let batch = joining.dueRemembered(at: now, isAlone: true, random: &random)
            #expect(batch.count == 3)
            asked += batch.map(\.port)
            let again = joining.dueRemembered(at: now, isAlone: true, random: &random)
            #expect(again.isEmpty)
            guard let next = joining.rememberedNextAt else { return #expect(Bool(false)) }
            waits.append((next - now).inSeconds)
            now = next
        }
        #expect(asked == [2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 2, 3, 4])
        for (wait, expected) in zip(waits, [1.0, 1, 2, 2, 4, 8]) { #expect(abs(wait - expected) <= expected * 0.11) }
        // Company ends it; alone again, it begins anew.
        let inCompany = joining.dueRemembered(at: now, isAlone: false, random: &random)
        #expect(inCompany.isEmpty && joining.rememberedNextAt == now + .seconds(5))
        now = now + .seconds(5)
        let alone = joining.dueRemembered(at: now, isAlone: true, random: &random)
        #expect(alone.count == 3 && joining.rememberedNextAt.map { $0 - now < .milliseconds(1_101) } == true)
    }

    @Test mutating func `256 others are remembered, and this node never`() {
        var joining = JoinSchedule(remembered: Self.snapshots(1...300), own: PeerID(rawValue: 3))
        joining.replaceSeeds([], at: .zero)
        var asked: [UInt16] = []
        while asked.count < 258, let now = joining.rememberedNextAt {
            asked += joining.dueRemembered(at: now, isAlone: true, random: &random).map(\.port)
        }
        #expect(asked.prefix(256).elementsEqual([1, 2] + (4...257)) && asked[256...] == [1, 2])
    }
}
