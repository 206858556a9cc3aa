import ClusterModel
import OCI
import Testing

@testable import CacheMap

struct HaveTests {
    private let other = PeerID(rawValue: 8)

    private func answer(_ number: UInt32, _ sizes: [UInt64?]) -> HaveAnswer {
        HaveAnswer(number: number, sizes: sizes, leaseMilliseconds: 30_000, running: 0, queued: 0)
    }

    @Test func `an answer counts once, from the peer that was asked, about as many keys`() {
        var exchange = HaveExchange(first: 40)
        let (id, effects) = exchange.ask([mapKey(1), mapKey(2)], peer, datagramBytesMax: 1_100, at: start)
        #expect(effects == [.send(HaveRequest(number: 41, keys: [mapKey(1), mapKey(2)]), to: peer)])
        let right = answer(41, [nil, 3])
        let stranger = exchange.answered(right, by: other)
        let short = exchange.answered(answer(41, [3]), by: peer)
        #expect(stranger.isEmpty && short.isEmpty)
        let first = exchange.answered(right, by: peer)
        #expect(first == [.answered(id, right, by: peer)])
        let again = exchange.answered(right, by: peer)
        #expect(again.isEmpty && exchange.nextAt == nil)
    }

    @Test func `a lost question goes to a stream after its limit, one that is too big at once`() {
        var exchange = HaveExchange(first: 0)
        let (id, _) = exchange.ask([mapKey(1)], peer, datagramBytesMax: 1_100, at: start)
        let early = exchange.expire(at: start + .milliseconds(99))
        #expect(early.isEmpty)
        let due = exchange.nextAt ?? start
        let late = exchange.expire(at: due)
        #expect(late == [.unanswered(id, by: peer)])
        let many = (0..<36).map(mapKey)
        let (big, effects) = exchange.ask(many, peer, datagramBytesMax: 2_000, at: start)
        #expect(effects == [.unanswered(big, by: peer)])
        let (tight, refused) = exchange.ask(Array(many.prefix(20)), peer, datagramBytesMax: 420, at: start)
        #expect(refused == [.unanswered(tight, by: peer)])
    }

    @Test func `a lease pins layers for 30 s, and what is being collected is not leased`() {
        var leases = LeaseTable()
        let (one, two) = (Digest.of([1]), Digest.of([2]))
        let granted = leases.grant([one], at: start)
        let free = leases.condemn([one, two], at: start + .seconds(29))
        #expect(granted && free == [two])
        let refused = leases.grant([two], at: start + .seconds(29))
        let other = leases.grant([one], at: start + .seconds(29))
        #expect(!refused && other)
        let renewed = leases.condemn([one], at: start + .seconds(58))
        let expired = leases.condemn([one], at: start + .seconds(59))
        #expect(renewed.isEmpty && expired == [one])
        leases.finish([one, two])
        let again = leases.grant([one, two], at: start + .seconds(60))
        #expect(again)
    }
}
