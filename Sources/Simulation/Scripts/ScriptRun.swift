internal import ClusterKeys
internal import ClusterModel
package import Gossip

/// One cluster that lives through a script and is then left alone; the invariants are checked all the while.
package struct ScriptRun: Sendable {
    package var nodes = 8
    package var seed: UInt64 = 1
    package var configuration = GossipConfiguration()

    package init() {}

    package struct Outcome: Sendable {
        package var violations: [String] = []
        package var trace: UInt64 = 0
        /// Members that were declared dead while the observer reached them.
        package var falseDeaths = 0
        package var deaths: UInt64 = 0
    }

    /// Periods that the cluster has to itself after the script: the longest bound, 30 T, and a stalled suspect's 30.
    private static let quietPeriods = 70

    /// Longer than a script can keep a node away after a rotation: what is away longer than a grace is not let in again.
    private static let gracePeriods = 120
    /// A sweep of expired keys, and what a drifting clock makes of a grace.
    private static let expiryPeriods = 15

    package func run(_ script: FaultScript) throws(GossipConfigurationError) -> Outcome {
        var cluster = ClusterSimulation(seed: seed, configuration: configuration)
        if script.rotates {
            let grace = configuration.period * Self.gracePeriods
            cluster.keySettings = .init(graceSeconds: UInt64(max(1, grace.inSeconds)))
        }
        cluster.nonces = NonceChecker()
        cluster.replays = ReplayChecker()
        for index in 0..<nodes {
            _ = try cluster.start(seeds: index == 0 ? [] : [0])
            cluster.run(for: .milliseconds(20))
        }
        var life = ScriptedLife(script, cluster: cluster)
        life.run(for: configuration.period * 5)
        try life.play()
        life.run(for: configuration.period * Self.quietPeriods)
        life.checkTheEnd()
        if script.rotates {
            life.run(for: configuration.period * (Self.gracePeriods + Self.expiryPeriods))
            life.checkKeysLate()
        }
        return Outcome(
            violations: life.violations + life.cluster.violations, trace: life.cluster.traceHash,
            falseDeaths: life.cluster.falseDeaths.count,
            deaths: life.cluster.nodes.reduce(0) { $0 + $1.membership.counters.deaths })
    }
}
