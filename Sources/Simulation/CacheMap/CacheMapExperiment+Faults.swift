internal import Gossip

// Acts in which the cluster falls apart and nodes start again.
extension CacheMapExperiment {
    /// Periods after a heal or a restart within which all know all keys: tables are equal 8 T after a heal
    /// (`TimeBoundChecker`), and a digest that could not be fetched is tried again after up to 8 T more.
    private static let knownPeriodsMax = 20
    /// The same while datagrams are lost: the slowest replica of 64 nodes at 30 % took more than 20 T.
    private static let knownPeriodsUnderLossMax = 40
    /// A node that restarts is away for so long: most others have not heard of it when it is back.
    private static let downPeriods = 1
    /// Share of its keys that a restarted node has lost, in percent: they show who uses the digest of its dead boot.
    private static let lostPercent = 10

    private func knownWithin(_ simulation: CacheMapSimulation) -> Duration {
        simulation.cluster.configuration.period
            * (lossPercent > 0 ? Self.knownPeriodsUnderLossMax : Self.knownPeriodsMax)
    }

    /// Cuts the cluster in halves, adds a key at each node in the middle of it, and heals it.
    func cutAndHeal(_ simulation: inout CacheMapSimulation, _ next: inout Int, _ report: inout CacheMapReport) {
        for node in stride(from: 1, to: nodes, by: 2) { simulation.network.setGroup(1, of: node) }
        let half = simulation.cluster.configuration.period * Double(cutPeriods) / 2
        simulation.run(for: half)
        let first = next
        for node in 0..<nodes {
            simulation.add([next], at: node, cost: Self.costly)
            next += 1
        }
        simulation.run(for: half)
        simulation.network.heal()
        let keys = (0..<nodes).map { CacheMapSimulation.key(first + $0) }
        let limit = knownWithin(simulation)
        report.healedAfter = simulation.run(within: limit) { simulation in
            keys.indices.allSatisfy { owner in
                keys.indices.allSatisfy { $0 == owner || simulation.mayHold($0, owner, keys[owner]) }
            }
        }
        if report.healedAfter == nil {
            report.violations.append("heal: keys of one half are not known in the other after \(limit)")
        }
    }

    /// Restarts nodes one after the other, each once all know what the one before it holds.
    func restartNodes(_ simulation: inout CacheMapSimulation, _ report: inout CacheMapReport) throws {
        let checker = CacheMapChecker()
        let limit = knownWithin(simulation)
        for node in 1...restarts {
            let keys = simulation.held[node].keys.sorted()
            simulation.crash(node)
            simulation.run(for: simulation.cluster.configuration.period * Self.downPeriods)
            try simulation.restart(
                node, losing: Array(keys.prefix(keys.count * Self.lostPercent / 100)), clusterSize: nodes)
            var misled: Set<Int> = []
            let known = simulation.run(within: limit) { simulation in
                misled.formUnion(checker.readersOfDeadBoot(simulation, of: node))
                return simulation.isInStep(with: node)
            }
            if !misled.isEmpty {
                report.violations.append("restart: n\(misled.sorted()) used the digest of n\(node)'s dead boot")
            }
            if known == nil {
                report.violations.append("restart: not all know the digest of n\(node) after \(limit)")
            }
        }
    }
}
