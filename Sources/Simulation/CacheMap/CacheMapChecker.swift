internal import CacheMap
internal import ClusterModel
internal import Gossip

/// Invariant 9: after quiescence every replica of a live owner is the owner's digest; no key that was announced more
/// than 3 periods ago is missing, none that was taken back so long ago is still seen, and no more is seen by mistake
/// than the rate explains.
///
/// It goes by the simulation's own list of what was held and removed when, not by the protocol's.
package struct CacheMapChecker: Sendable {
    /// Periods after which news must be everywhere.
    private static let periods = 3
    /// Never-held keys that are asked of each replica.
    package var questions = 200

    package init() {}

    /// What false hits there were, and what was promised for them.
    package struct FalseHits: Sendable {
        package var asked = 0
        package var hits = 0
        package var promised = 0.0
        package var rate: Double { asked == 0 ? 0 : Double(hits) / Double(asked) }
        package var promisedRate: Double { asked == 0 ? 0 : promised / Double(asked) }
        /// Three standard deviations of a count beyond a tenth.
        var isWithin: Bool { Double(hits) <= 1.2 * promised + 3 * promised.squareRoot() }
    }

    package func violations(_ simulation: CacheMapSimulation) -> [String] {
        var found: [String] = []
        let settled = simulation.cluster.configuration.period * Self.periods
        for (reader, owner) in pairs(simulation) {
            let own = simulation.exchanges[owner].own
            let seen = simulation.exchanges[reader].digests.position(of: ClusterSimulation.id(of: owner))
            if seen != own.position, !(own.sequence == 0 && own.root == 0) {
                found.append("n\(reader) has n\(owner) at \(seen.map { "\($0)" } ?? "nothing"), not \(own.position)")
            }
            guard !own.isPartial else { continue }
            let missing = simulation.held[owner].count { key, since in
                simulation.now - since > settled
                    && !simulation.mayHold(reader, owner, CacheMapSimulation.key(key))
            }
            if missing > 0 { found.append("n\(reader) does not see \(missing) keys of n\(owner)") }
        }
        let removed = removedStillSeen(simulation)
        if !removed.isWithin {
            found.append("\(removed.hits) removed keys are still seen, \(removed.promised) expected")
        }
        let falseHits = falseHits(simulation)
        if !falseHits.isWithin { found.append("\(falseHits.hits) false hits, \(falseHits.promised) expected") }
        return found
    }

    /// Keys that were taken back more than 3 periods ago; those that share a place with others count as false hits.
    package func removedStillSeen(_ simulation: CacheMapSimulation) -> FalseHits {
        let settled = simulation.cluster.configuration.period * Self.periods
        var count = FalseHits()
        for (reader, owner) in pairs(simulation) {
            let rate = rate(simulation, reader, owner)
            for (key, since) in simulation.removed[owner] where simulation.now - since > settled {
                ask(CacheMapSimulation.key(key), rate, simulation, reader, owner, &count)
            }
        }
        return count
    }

    /// Keys that nobody ever held.
    package func falseHits(_ simulation: CacheMapSimulation) -> FalseHits {
        var count = FalseHits()
        var next = 1 << 40
        for (reader, owner) in pairs(simulation) {
            let rate = rate(simulation, reader, owner)
            for _ in 0..<questions {
                next += 1
                ask(CacheMapSimulation.key(next), rate, simulation, reader, owner, &count)
            }
        }
        return count
    }

    private func ask(
        _ key: CacheKey, _ rate: Double, _ simulation: CacheMapSimulation, _ reader: Int, _ owner: Int,
        _ count: inout FalseHits
    ) {
        count.asked += 1
        count.promised += rate
        if simulation.mayHold(reader, owner, key) { count.hits += 1 }
    }

    private func rate(_ simulation: CacheMapSimulation, _ reader: Int, _ owner: Int) -> Double {
        simulation.exchanges[reader].digests.promise(of: ClusterSimulation.id(of: owner))?.rate.rate ?? 0
    }

    private func pairs(_ simulation: CacheMapSimulation) -> [(Int, Int)] {
        let running = simulation.cluster.running
        return running.flatMap { reader in running.compactMap { $0 == reader ? nil : (reader, $0) } }
    }
}
