import CacheMap
import ClusterModel
import Gossip
import Testing

@testable import Simulation

/// The checker of invariant 9 notices what it is there for.
struct CacheMapCheckerTests {
    private static let nodes = 6
    private static let keysPerNode = 50
    private let checker = CacheMapChecker()

    private func formed(seed: UInt64) throws -> CacheMapSimulation {
        var simulation = try #require(
            CacheMapSimulation(seed: seed, configuration: GossipConfiguration(), digest: CacheMapDigest.Settings()))
        for node in 0..<Self.nodes {
            let first = node * Self.keysPerNode
            try simulation.start(holding: Array(first..<first + Self.keysPerNode), clusterSize: Self.nodes)
            simulation.run(for: .milliseconds(5))
        }
        let formed = simulation.run(within: .seconds(20)) { simulation in
            simulation.isInStep && simulation.exchanges.allSatisfy { $0.digests.usableCount == Self.nodes - 1 }
        }
        #expect(formed != nil)
        simulation.run(for: .seconds(4))
        return simulation
    }

    @Test func `a replica that still shows removed keys after 3 periods is late, until it has heard`() throws {
        var simulation = try formed(seed: 11)
        simulation.network.datagramBlocked = [4]
        simulation.remove(Array(100..<120), at: 2)
        simulation.run(for: .milliseconds(3_100))
        let removed = checker.removedStillSeen(simulation)
        #expect(removed.asked == 5 * 20 && removed.replicas == 5, "\(removed)")
        // Some of the 20 may share their place with a key that is held.
        #expect(removed.late >= 1 && removed.hits >= 15, "\(removed)")
        #expect(checker.violations(of: removed, loss: 0).count == 1)
        #expect(checker.violations(simulation).contains { $0.contains("removed keys are still seen") })
        simulation.network.heal()
        let healed = simulation.run(within: .seconds(30)) { $0.isInStep }
        #expect(healed != nil)
        let after = checker.removedStillSeen(simulation)
        #expect(after.late == 0 && after.hits == 0 && after.replicas == 5, "\(after)")
        #expect(checker.violations(of: after, loss: 0).isEmpty)
    }

    @Test(arguments: [
        (0.0, 11, true), (0.0, 12, false), (0.3, 83, true), (0.3, 84, false), (0.5, 504, true),
    ])
    func `as many replicas of 504 may be late after 3 periods as the loss explains`(
        loss: Double, late: Int, isAllowed: Bool
    ) {
        var removed = CacheMapChecker.RemovedKeys()
        removed.replicas = 504
        removed.late = late
        #expect(checker.violations(of: removed, loss: loss).isEmpty == isAllowed)
    }

    @Test func `keys that their owner goes on to publish after it removed them are found`() throws {
        var simulation = try formed(seed: 12)
        simulation.forgetToRemove(Array(100..<120), at: 2)
        simulation.run(for: .seconds(4))
        #expect(checker.violations(simulation).contains { $0.hasPrefix("owners still publish 20 removed keys") })
    }

    @Test func `a reader that uses what a dead boot said is found`() throws {
        var simulation = try formed(seed: 13)
        simulation.crash(2)
        simulation.run(for: .seconds(1))
        try simulation.restart(2, losing: Array(100..<110), clusterSize: Self.nodes)
        let known = simulation.run(within: .seconds(20)) { simulation in
            #expect(checker.readersOfDeadBoot(simulation, of: 2).isEmpty)
            return simulation.isInStep(with: 2)
        }
        #expect(known != nil)
        simulation.run(for: .seconds(4))
        #expect(checker.violations(simulation).isEmpty, "\(checker.violations(simulation))")
        #expect(checker.removedStillSeen(simulation).hits == 0)
        // As if what they have were of the boot before.
        simulation.bootEpochs[2] += 1
        #expect(checker.readersOfDeadBoot(simulation, of: 2) == [0, 1, 3, 4, 5])
    }
}
