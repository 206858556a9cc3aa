import ClusterModel
import Testing

@testable import Gossip

/// What a node says of itself when its loop was late.
struct StalledFlagTests {
    @Test func `a node whose loop was late says so for five periods, and no longer`() throws {
        var bench = try Bench(peers: [2])
        _ = bench.run(for: .seconds(1))
        #expect(!bench.node.own.load.flags.contains(.stalled))
        let before = bench.node.own.load.sequence
        bench.now = bench.now + .seconds(3)
        let late = bench.now
        _ = bench.handle(.timer)
        #expect(bench.node.own.load.flags.contains(.stalled) && bench.node.own.load.sequence == before &+ 1)
        while bench.now < late + .milliseconds(4_900) { _ = bench.run(for: .milliseconds(100)) }
        #expect(bench.node.own.load.flags.contains(.stalled))
        _ = bench.run(for: .milliseconds(1_200))
        #expect(!bench.node.own.load.flags.contains(.stalled))
    }
}
