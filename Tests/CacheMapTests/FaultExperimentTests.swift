import CacheMap
import Gossip
import Testing

@testable import Simulation

/// Runs of `scripts/simulate cachemap` with faults.
struct FaultExperimentTests {
    @Test(arguments: [0, 30])
    func `halves that added keys while they were cut apart know them all after the heal, and restarts mislead nobody`(
        loss: Int
    ) throws {
        var experiment = CacheMapExperiment()
        experiment.nodes = 8
        experiment.keys = 60
        experiment.seconds = 3
        experiment.lossPercent = loss
        experiment.cutPeriods = 12
        experiment.restarts = 1
        let report = try experiment.run()
        #expect(report.violations.isEmpty, "\(loss) % loss: \(report.violations.prefix(3))")
        #expect(report.healedAfter != nil)
    }

    @Test func `keys that are not known by all after the heal are a violation`() throws {
        var experiment = CacheMapExperiment()
        experiment.nodes = 4
        experiment.cutPeriods = 4
        var simulation = try #require(
            CacheMapSimulation(seed: 1, configuration: GossipConfiguration(), digest: CacheMapDigest.Settings()))
        for node in 0..<4 {
            try simulation.start(holding: [node], clusterSize: 4)
            simulation.run(for: .milliseconds(5))
        }
        simulation.run(for: .seconds(5))
        // It hears of nothing any more, and the experiment does not know.
        simulation.crash(3)
        var next = 4
        var report = CacheMapReport(experiment: experiment)
        experiment.cutAndHeal(&simulation, &next, &report)
        #expect(next == 8 && report.healedAfter == nil)
        #expect(report.violations.count == 1 && report.violations[0].hasPrefix("heal:"), "\(report.violations)")
    }
}
