import CacheMap
import ClusterModel
import Gossip
import Simulation
import Testing

struct SimulationTests {
    private func experiment(seed: UInt64, loss: Int, packetLimit: Int = 1_200) -> CacheMapExperiment {
        var experiment = CacheMapExperiment()
        experiment.nodes = 10
        experiment.keys = 120
        experiment.seconds = 6
        experiment.lossPercent = loss
        experiment.seed = seed
        experiment.packetLimit = packetLimit
        return experiment
    }

    @Test(arguments: UInt64(1)...3, [0, 30])
    func `replicas equal their owners after load and collection, whatever is lost`(seed: UInt64, loss: Int) throws {
        let report = try experiment(seed: seed, loss: loss).run()
        #expect(report.violations.isEmpty, "seed \(seed), \(loss) % loss: \(report.violations.prefix(3))")
    }

    @Test(arguments: [512, 1_400]) func `other packet limits work`(limit: Int) throws {
        let report = try experiment(seed: 9, loss: 10, packetLimit: limit).run()
        #expect(report.violations.isEmpty, "\(report.violations.prefix(3))")
    }

    @Test func `equal seeds give equal traces`() throws {
        let experiment = experiment(seed: 4, loss: 20)
        #expect(try experiment.run().traceHash == experiment.run().traceHash)
    }

    @Test func `a dead node's keys are not offered, and the checker sees what is wrong`() throws {
        var simulation = try #require(
            CacheMapSimulation(seed: 5, configuration: GossipConfiguration(), digest: CacheMapDigest.Settings()))
        for node in 0..<6 {
            try simulation.start(holding: Array(node * 50..<node * 50 + 50), clusterSize: 6)
            simulation.run(for: .milliseconds(5))
        }
        let formed = simulation.run(within: .seconds(20)) { simulation in
            simulation.isInStep && simulation.exchanges.allSatisfy { $0.digests.usableCount == 5 }
        }
        #expect(formed != nil)
        simulation.run(for: .seconds(4))
        #expect(CacheMapChecker().violations(simulation).isEmpty)
        // A key that its owner never announced: the checker goes by its own list.
        simulation.forgetToAnnounce(7_777, at: 2)
        simulation.run(for: .seconds(4))
        #expect(CacheMapChecker().violations(simulation).count == 5)
        simulation.crash(3)
        let isNoticed = simulation.run(within: .seconds(30)) { !$0.mayHold(0, 3, CacheMapSimulation.key(151)) }
        #expect(isNoticed != nil)
    }
}
