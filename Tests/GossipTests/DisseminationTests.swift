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
}
