import ClusterModel
import Testing

@testable import Gossip

/// What goes into the datagrams that leave, and what the token bucket holds back.
struct DisseminationTests {
    private static let budget = 1_000

    private static func id(_ number: UInt64) -> PeerID { PeerID(rawValue: number) }

    /// The records of one datagram, by their first byte.
    private func marks(_ news: inout Dissemination, pushesOnly: Bool = true, at now: MonotonicInstant) -> [UInt8] {
        news.take(datagrams: 1, budget: Self.budget, members: 9, pushesOnly: pushesOnly, at: now)
            .flatMap { $0 }.map { $0[0] }
    }

    private func put(_ news: inout Dissemination, _ mark: UInt8, bytes: Int, isExempt: Bool = false) {
        _ = news.enqueue(
            [UInt8](repeating: mark, count: bytes), as: .standing(Self.id(UInt64(mark))), isExempt: isExempt)
    }

    @Test(arguments: [true, false])
    func `a refutation does not wait behind news that is held back`(pushesOnly: Bool) {
        var news = Dissemination(bytesPerSecond: 100, at: .zero)
        put(&news, 1, bytes: 150)
        #expect(marks(&news, pushesOnly: pushesOnly, at: .zero) == [1])
        // 50 bytes are left.
        put(&news, 2, bytes: 100)
        put(&news, 3, bytes: 20, isExempt: true)
        put(&news, 4, bytes: 100)
        put(&news, 5, bytes: 20, isExempt: true)
        #expect(marks(&news, pushesOnly: pushesOnly, at: .zero) == [3, 5])
        #expect(news.heldBack > 0)
        // What was held back is next, when there are bytes again.
        let later = MonotonicInstant.zero + .seconds(2)
        #expect(marks(&news, pushesOnly: pushesOnly, at: later) == [2, 4, 3, 5])
    }

    @Test func `what is shorter does not overtake news that is held back, unless it is a refutation`() {
        var news = Dissemination(bytesPerSecond: 100, at: .zero)
        put(&news, 1, bytes: 150)
        #expect(marks(&news, at: .zero) == [1])
        put(&news, 2, bytes: 100)
        put(&news, 3, bytes: 20, isExempt: true)
        put(&news, 4, bytes: 20)
        #expect(marks(&news, at: .zero) == [3])
        #expect(marks(&news, at: .zero + .milliseconds(500)) == [2, 3])
    }

    @Test func `a refutation that was told or replaced holds nobody up, and nothing is held back in vain`() {
        var news = Dissemination(bytesPerSecond: 100, at: .zero)
        let limit = Dissemination.transmissionLimit(members: 9)
        for _ in 0..<3 {
            put(&news, 1, bytes: 20, isExempt: true)
            put(&news, 1, bytes: 20, isExempt: true)
            for _ in 0..<limit { #expect(marks(&news, pushesOnly: false, at: .zero) == [1]) }
            #expect(marks(&news, pushesOnly: false, at: .zero) == [])
        }
        #expect(news.counts == [0, 0, 0] && !news.wantsPush && news.heldBack == 0)
    }

    @Test func `a push of something new does not end the pass before what was told more often`() {
        var queue = NewsQueue()
        var tokens = TokenBucket(perSecond: 64_000, at: .zero)
        func round() -> [[UInt8]] {
            queue.beginRound()
            var sent: [[UInt8]] = []
            while let bytes = queue.next(room: 99, credit: 99, pushesOnly: true, limit: 9, tokens: &tokens) {
                sent.append(bytes)
            }
            return sent
        }
        queue.put([1], as: .standing(Self.id(1)), pushes: 4, isExempt: false)
        for _ in 0..<2 { #expect(round() == [[1]]) }
        queue.put([2], as: .standing(Self.id(2)), pushes: 4, isExempt: false)
        for _ in 0..<2 { #expect(round() == [[2], [1]]) }
        #expect(round() == [[2]])
    }

    // MARK: How often

    @Test(arguments: [(true, 8), (false, 4)])
    func `what is urgent is pushed to two members in four rounds, other records in two`(isUrgent: Bool, copies: Int) {
        var news = Dissemination(bytesPerSecond: 64_000, at: .zero)
        _ = news.enqueue([1], as: .user(Self.id(1), 1), isHurried: isUrgent)
        var pushed = 0
        while news.wantsPush, pushed < 99 { pushed += marks(&news, at: .zero).count }
        #expect(pushed == copies)
        #expect(news.counts[2] == (isUrgent ? 1 : 0))
    }

    /// Members up, copies of each item.
    @Test(arguments: [(1, 11), (2, 12), (9, 13), (64, 14), (4_096, 17)])
    func `an item is sent so many times and no more, ridden or pushed`(members: Int, copies: Int) {
        #expect(Dissemination.transmissionLimit(members: members) == copies)
        var news = Dissemination(bytesPerSecond: 64_000, at: .zero)
        put(&news, 1, bytes: 20)
        var sent = 0
        for _ in 0..<99 {
            sent += news.take(datagrams: 1, budget: 100, members: members, pushesOnly: false, at: nil).count
        }
        #expect(sent == copies && news.counts == [0, 0, 0] && !news.wantsPush)
        _ = news.enqueue([2], as: .user(Self.id(1), 1), isHurried: false)
        sent = 0
        for _ in 0..<99 {
            sent += news.take(datagrams: 1, budget: 100, members: members, pushesOnly: false, at: nil).count
        }
        #expect(sent == 4)
    }

    @Test func `a copy that rode on a probe is not one of the pushes, and what need not be pushed is not`() {
        var news = Dissemination(bytesPerSecond: 64_000, at: .zero)
        put(&news, 1, bytes: 20)
        _ = news.enqueue([2], as: .load(Self.id(2)), pushing: false)
        #expect(marks(&news, pushesOnly: false, at: .zero).sorted() == [1, 2])
        var pushed: [UInt8] = []
        while news.wantsPush, pushed.count < 99 { pushed += marks(&news, at: .zero) }
        #expect(pushed == [UInt8](repeating: 1, count: 8))
        #expect(marks(&news, at: .zero) == [])
    }

    @Test func `an item goes once into the datagrams of one round`() {
        var news = Dissemination(bytesPerSecond: 64_000, at: .zero)
        for mark in UInt8(1)...3 { put(&news, mark, bytes: 40) }
        let datagrams = news.take(datagrams: 8, budget: 100, members: 9, pushesOnly: true, at: .zero)
        #expect(datagrams.map { $0.map { $0[0] } } == [[1, 2], [3]])
    }

    @Test func `the last word on a member takes the place of the one before, and of its suspicion`() {
        var news = Dissemination(bytesPerSecond: 64_000, at: .zero)
        _ = news.enqueue([1], as: .suspect(Self.id(2)))
        _ = news.enqueue([2], as: .suspect(Self.id(3)))
        _ = news.enqueue([3], as: .standing(Self.id(2)))
        _ = news.enqueue([4], as: .standing(Self.id(2)))
        #expect(marks(&news, at: .zero) == [2, 4])
    }

    // MARK: What fits

    @Test(arguments: [(500, 500, 2), (500, 501, 1), (1_000, 1, 1), (999, 1, 2), (1_001, 1, 1)])
    func `a datagram is filled to its last byte and no further`(first: Int, second: Int, count: Int) {
        var news = Dissemination(bytesPerSecond: 64_000, at: .zero)
        put(&news, 1, bytes: first)
        put(&news, 2, bytes: second)
        let records = news.take(datagrams: 1, budget: Self.budget, members: 9, pushesOnly: true, at: nil)[0]
        #expect(records.count == count && records.reduce(0) { $0 + $1.count } <= Self.budget)
        for (number, bytes) in [(3, 300), (4, 301), (5, 400)] { put(&news, UInt8(number), bytes: bytes) }
        let next = news.take(datagrams: 9, budget: Self.budget, members: 9, pushesOnly: true, at: nil)
        #expect(next.allSatisfy { $0.reduce(0) { $0 + $1.count } <= Self.budget })
    }

    // MARK: Classes

    /// So many bytes of each class in 50-byte records are there that no datagram empties one.
    private func saturate(_ news: inout Dissemination, _ classes: [Int], from first: UInt64 = 100) {
        for number in first..<first + 400 {
            for index in classes {
                let record = [UInt8](repeating: UInt8(index), count: 50)
                switch index {
                case 0: _ = news.enqueue(record, as: .standing(Self.id(number)))
                case 1: _ = news.enqueue(record, as: .load(Self.id(number)))
                default: _ = news.enqueue(record, as: .user(Self.id(number), 1))
                }
            }
        }
    }

    /// Bytes of each class in the next datagram.
    private func shares(_ news: inout Dissemination, at now: MonotonicInstant? = nil) -> [Int] {
        let records = news.take(datagrams: 1, budget: Self.budget, members: 9, pushesOnly: true, at: now)
            .flatMap { $0 }
        return (0..<3).map { index in records.filter { $0[0] == UInt8(index) }.reduce(0) { $0 + $1.count } }
    }

    @Test func `members, load and user records share a datagram 4 to 2 to 2, and one alone has it whole`() {
        var news = Dissemination(bytesPerSecond: 640_000, at: .zero)
        saturate(&news, [0, 1, 2])
        for _ in 0..<6 { #expect(shares(&news) == [500, 250, 250]) }
        #expect(news.sentBytes == [3_000, 1_500, 1_500])
        for index in 0..<3 {
            var alone = Dissemination(bytesPerSecond: 640_000, at: .zero)
            saturate(&alone, [index])
            #expect(shares(&alone)[index] == 1_000)
        }
    }

    @Test func `a class with nothing to say saves nothing up`() {
        var news = Dissemination(bytesPerSecond: 640_000, at: .zero)
        saturate(&news, [0])
        for _ in 0..<9 { #expect(shares(&news) == [1_000, 0, 0]) }
        saturate(&news, [2], from: 1_000)
        for _ in 0..<3 { #expect(shares(&news)[2] <= 500) }
    }

    @Test func `a class saves up for a record that is longer than its share`() {
        var news = Dissemination(bytesPerSecond: 640_000, at: .zero)
        saturate(&news, [0, 1])
        _ = news.enqueue([UInt8](repeating: 2, count: 600), as: .user(Self.id(1), 1))
        let sent = (0..<6).map { _ in shares(&news) }
        #expect(sent.contains { $0[2] == 600 })
        #expect(sent.prefix(2).allSatisfy { $0[2] == 0 })
    }

    @Test func `what a class was held back from is saved up for two datagrams and no more`() {
        var news = Dissemination(bytesPerSecond: 20_000, at: .zero)
        saturate(&news, [1])
        while shares(&news) != [0, 0, 0] {}
        // No bytes left: load is held back, refutations are not.
        for mark in UInt64(1)...400 {
            _ = news.enqueue([UInt8](repeating: 0, count: 50), as: .standing(Self.id(mark)), isExempt: true)
        }
        for _ in 0..<20 { #expect(shares(&news)[1] == 0) }
        let sent = (0..<8).map { _ in shares(&news, at: .zero + .seconds(2)) }
        #expect(sent.reduce(0) { $0 + $1[1] } <= 2 * Self.budget + 8 * Self.budget / 4)
        #expect(sent.allSatisfy { $0.reduce(0, +) == Self.budget })
    }

    // MARK: Bounds

    @Test func `with no bytes left only suspicions and refutations leave`() {
        var news = Dissemination(bytesPerSecond: 100, at: .zero)
        put(&news, 1, bytes: 200)
        #expect(marks(&news, at: .zero) == [1])
        put(&news, 2, bytes: 10)
        _ = news.enqueue([3], as: .load(Self.id(3)))
        _ = news.enqueue([4], as: .user(Self.id(4), 1))
        #expect(marks(&news, at: .zero) == [])
        _ = news.enqueue([5], as: .suspect(Self.id(5)))
        put(&news, 6, bytes: 10, isExempt: true)
        #expect(marks(&news, at: .zero) == [5, 6])
        #expect(marks(&news, at: .zero + .seconds(1)).sorted() == [1, 2, 3, 4, 5, 6].filter { $0 != 1 })
    }

    @Test func `of more than 512 user records the oldest go`() {
        var news = Dissemination(bytesPerSecond: 640_000, at: .zero)
        var dropped = 0
        for number in UInt32(1)...515 {
            let record = [UInt8(number >> 8), UInt8(truncatingIfNeeded: number)]
            dropped += news.enqueue(record, as: .user(Self.id(1), number))
        }
        #expect(dropped == 3 && news.counts == [0, 0, 512])
        let sent = news.take(datagrams: 9, budget: Self.budget, members: 9, pushesOnly: true, at: nil).flatMap { $0 }
        #expect(sent.count == 512 && sent.first == [0, 4] && sent.last == [2, 3])
    }

    @Test func `news that is replaced again and again takes no room, and is still told`() {
        var queue = NewsQueue()
        for number in 0..<10_000 {
            queue.put([UInt8(truncatingIfNeeded: number)], as: .load(Self.id(7)), pushes: 1, isExempt: false)
            queue.beginRound()
            #expect(queue.placed <= 66)
        }
        var tokens = TokenBucket(perSecond: 100, at: .zero)
        let sent = queue.next(room: 9, credit: 9, pushesOnly: true, limit: 9, tokens: &tokens)
        #expect(sent == [UInt8(truncatingIfNeeded: 9_999)] && queue.pushes == 0 && queue.count == 1)
    }
}
