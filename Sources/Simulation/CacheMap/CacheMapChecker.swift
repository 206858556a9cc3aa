internal import CacheMap
internal import ClusterModel
internal import Gossip

/// Invariant 9: after quiescence every replica of a live owner is the owner's digest; no key that was announced more
/// than 3 periods ago is missing, none that was taken back so long ago is still seen, and no more is seen by mistake
/// than the rate explains.
///
/// As soon as 3 periods have passed, few replicas show what was taken back, and none ever shows what an earlier boot
/// said. It goes by the simulation's own list of what was held and removed when, not by the protocol's.
package struct CacheMapChecker: Sendable {
    /// Periods after which news must be everywhere.
    private static let periods = 3
    /// Share of the replicas that may still show removed keys after that, when nothing is lost.
    ///
    /// A push misses a node with a chance of e^-6, and map roots may take longer than this to repair it: 2 of 504 were
    /// late in the worst of four seeds of 64 nodes.
    private static let lateShareMax = 0.01
    /// The same while datagrams are lost: 42 of 504 in the worst of six seeds of 64 nodes at 30 %.
    private static let lateShareUnderLossMax = 0.12
    /// Share of datagrams lost up to which the former holds; above it removals are only awaited until quiescence.
    private static let boundedLossMax = 0.3
    /// Removed keys that may share their place with held ones, beyond what the rate explains: the count is small.
    private static let sharedPlacesSlack = 3.0
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
        var mostHits: Double { 1.2 * promised + 3 * promised.squareRoot() }
        var isWithin: Bool { Double(hits) <= mostHits }
    }

    /// Questions for removed keys that are answered by mistake, and the replicas that do so.
    ///
    /// A key whose place in the owner's own pages is taken by another is no mistake of the replica.
    package struct RemovedKeys: Sendable {
        /// Questions by removed key and reader.
        package var asked = 0
        package var hits = 0
        /// Pairs of a reader and an owner that took keys back.
        package var replicas = 0
        /// Those with a hit.
        package var late = 0
        package var rate: Double { asked == 0 ? 0 : Double(hits) / Double(asked) }
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
        if removed.late > 0 {
            let (late, replicas) = (removed.late, removed.replicas)
            found.append("\(removed.hits) removed keys are still seen, at \(late) of \(replicas) replicas")
        }
        let published = removedStillPublished(simulation)
        if Double(published.hits) > published.mostHits + Self.sharedPlacesSlack {
            found.append("owners still publish \(published.hits) removed keys, \(published.promised) expected")
        }
        let falseHits = falseHits(simulation)
        if !falseHits.isWithin { found.append("\(falseHits.hits) false hits, \(falseHits.promised) expected") }
        return found
    }

    /// What is wrong with what was still seen as soon as 3 periods had passed; `loss` is the share of datagrams lost.
    package func violations(of removed: RemovedKeys, loss: Double) -> [String] {
        guard loss <= Self.boundedLossMax else { return [] }
        let expected = Double(removed.replicas) * (loss > 0 ? Self.lateShareUnderLossMax : Self.lateShareMax)
        let most = Int(expected + 3 * expected.squareRoot())
        guard removed.late > most else { return [] }
        return [
            "\(removed.late) of \(removed.replicas) replicas show removed keys after \(Self.periods) periods, "
                + "at most \(most) may"
        ]
    }

    /// Keys that were taken back more than 3 periods ago, as the readers see them.
    package func removedStillSeen(_ simulation: CacheMapSimulation) -> RemovedKeys {
        var count = RemovedKeys()
        for owner in simulation.cluster.running {
            let keys = settledRemovals(simulation, owner)
            guard !keys.isEmpty else { continue }
            let published = simulation.fetched(from: owner)
            let id = ClusterSimulation.id(of: owner)
            let gone = keys.filter { !published.mayHold(id, $0) }
            for reader in simulation.cluster.running where reader != owner {
                let hits = gone.count { simulation.mayHold(reader, owner, $0) }
                count.asked += keys.count
                count.hits += hits
                count.replicas += 1
                if hits > 0 { count.late += 1 }
            }
        }
        return count
    }

    /// The same keys, as the owners' own pages have them: those that share a place with others are hits.
    private func removedStillPublished(_ simulation: CacheMapSimulation) -> FalseHits {
        var count = FalseHits()
        for owner in simulation.cluster.running {
            let keys = settledRemovals(simulation, owner)
            guard !keys.isEmpty else { continue }
            let published = simulation.fetched(from: owner)
            let id = ClusterSimulation.id(of: owner)
            count.asked += keys.count
            count.hits += keys.count { published.mayHold(id, $0) }
            count.promised += Double(keys.count) * simulation.exchanges[owner].own.rate.rate
        }
        return count
    }

    private func settledRemovals(_ simulation: CacheMapSimulation, _ owner: Int) -> [CacheKey] {
        let settled = simulation.cluster.configuration.period * Self.periods
        return simulation.removed[owner].compactMap { key, since in
            simulation.now - since > settled ? CacheMapSimulation.key(key) : nil
        }
    }

    /// Readers that know of the present boot of `owner` and still use what an earlier one said.
    package func readersOfDeadBoot(_ simulation: CacheMapSimulation, of owner: Int) -> [Int] {
        let id = ClusterSimulation.id(of: owner)
        let bootID = simulation.cluster.nodes[owner].boots
        return simulation.cluster.running.filter { reader in
            guard reader != owner,
                simulation.cluster.nodes[reader].membership.member(id)?.bootID == bootID,
                let position = simulation.exchanges[reader].digests.position(of: id)
            else { return false }
            return position.epoch < simulation.bootEpochs[owner]
        }
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
