import ClusterModel
import Testing

@testable import Gossip

/// Which changes of a load are told beyond pings and acks.
struct LoadNewsTests {
    private static func load(_ change: (inout LoadRecord) -> Void = { _ in }) -> LoadRecord {
        var load = LoadRecord()
        (load.slots, load.running, load.diskFree) = (4, 1, 8 << 30)
        change(&load)
        return load
    }

    @Test func `processors, memory and disk are told in pings alone, unless the class changes`() throws {
        let changes: [((inout LoadRecord) -> Void, isNews: Bool)] = [
            ({ $0.cpuBusy = 200 }, false), ({ $0.memoryFree = 1 << 30 }, false), ({ $0.diskFree = 2 << 30 }, false),
            ({ $0.diskFree = 1 << 20 }, true), ({ $0.running = 2 }, true), ({ $0.queued = 1 }, true),
            ({ $0.slots = 8 }, true), ({ $0.platform = 1 }, true), ({ $0.keySet = 7 }, true),
        ]
        for (index, (change, isNews)) in changes.enumerated() {
            var bench = try Bench(peers: [2, 3])
            _ = bench.handle(.loadChanged(Self.load()))
            bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
            let told = bench.node.own.load.sequence
            _ = bench.handle(.loadChanged(Self.load(change)))
            #expect(bench.node.dissemination.counts[1] == (isNews ? 1 : 0), "own change \(index)")
            #expect(bench.node.pulseOfSelf(1).load.sequence == told &+ 1)

            // What is heard of another one is passed on by the same rule.
            let two = PeerID(rawValue: 2)
            var (before, after) = (Self.load(), Self.load(change))
            (before.sequence, after.sequence) = (1, 2)
            _ = bench.receive([.load(two, bootID: 10, before, age: .zero)], from: 3)
            bench.node.dissemination = Dissemination(bytesPerSecond: 64_000, at: bench.now)
            _ = bench.receive([.load(two, bootID: 10, after, age: .zero)], from: 3)
            #expect(bench.node.member(two)?.load.sequence == 2)
            #expect(bench.node.dissemination.counts[1] == (isNews ? 1 : 0), "heard change \(index)")
        }
    }
}
