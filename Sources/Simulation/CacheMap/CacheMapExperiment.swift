package import CacheMap
internal import ClusterModel
internal import Gossip

/// One run that measures a cluster's cache maps: formation, spread of new keys, a cut, restarts, collection, false
/// hits, bytes.
package struct CacheMapExperiment: Sendable {
    package var nodes = 64
    /// Keys that each node holds at the start.
    package var keys = 1_000
    /// New keys per second and node.
    package var rate = 1.0
    /// Share of its keys that one node in eight collects, in percent.
    package var gcPercent = 20
    /// Share of datagrams that are lost, in percent.
    package var lossPercent = 0
    package var seed: UInt64 = 1
    package var packetLimit = 1_200
    /// Seconds under load.
    package var seconds = 20
    package var encoding = DigestPage.Encoding.smaller
    /// Two halves for so many periods, in which all nodes add keys, and then healed; 0 for none.
    package var cutPeriods = 0
    /// Nodes that crash and start again under a new boot, one after the other; fewer than `nodes`.
    package var restarts = 0

    package init() {}

    /// Nodes start this long one after the other.
    private static let startInterval: Duration = .milliseconds(5)
    private static let formationLimit: Duration = .seconds(120)
    private static let quietSeconds = 5
    /// Seconds that a step took whose key is announced at once; and one whose key waits for others.
    static let costly = 20.0
    private static let cheap = 1.0

    package func run() throws -> CacheMapReport {
        var report = CacheMapReport(experiment: self)
        var configuration = GossipConfiguration()
        configuration.packetLimit = packetLimit
        var digest = CacheMapDigest.Settings()
        // What is measured is the spread, not the choice of keys.
        digest.budget = 4_000_000
        digest.encoding = encoding
        guard var simulation = CacheMapSimulation(seed: seed, configuration: configuration, digest: digest) else {
            return report
        }
        simulation.network.loss = Double(lossPercent) / 100
        var next = 0
        for _ in 0..<nodes {
            try simulation.start(holding: Array(next..<next + keys), clusterSize: nodes)
            next += keys
            simulation.run(for: Self.startInterval)
        }
        report.formedAfter = simulation.run(within: Self.formationLimit) { simulation in
            simulation.cluster.running.allSatisfy {
                simulation.exchanges[$0].digests.usableCount >= nodes - 1
            } && simulation.isInStep
        }
        report.wholeDigestBytes = simulation.streamBytes
        report.quiet = measure(&simulation, seconds: Self.quietSeconds) { _, _ in }
        var random = SplitMix64(seed: SplitMix64.mix(seed))
        report.busy = measure(&simulation, seconds: seconds) { simulation, _ in
            load(&simulation, &next, &random)
        }
        if cutPeriods > 0 { cutAndHeal(&simulation, &next, &report) }
        if restarts > 0 { try restartNodes(&simulation, &report) }
        let collected = collect(&simulation)
        report.collected = collected
        simulation.run(for: configuration.period * 3 + .milliseconds(100))
        let checker = CacheMapChecker()
        let removed = checker.removedStillSeen(simulation)
        report.removedStillSeen = removed
        report.violations += checker.violations(of: removed, loss: simulation.network.loss)
        report.settledAfter = simulation.run(within: .seconds(20)) { $0.isInStep }
        simulation.run(for: configuration.period * 3)
        report.falseHits = checker.falseHits(simulation)
        report.violations += checker.violations(simulation)
        report.spread = simulation.watches.map { ($0.known, nodes - 1) }
        report.counters = simulation.exchanges.map(\.counters)
        report.traceHash = simulation.cluster.traceHash
        return report
    }

    /// One second: each node's new keys at moments of their own, one key of a costly step among them.
    private func load(_ simulation: inout CacheMapSimulation, _ next: inout Int, _ random: inout SplitMix64) {
        var moments: [(at: UInt64, node: Int)] = []
        for node in 0..<nodes {
            let whole = Int(rate)
            let chance = UInt64((rate - Double(whole)) * 1_000)
            let count = whole + (random.next() % 1_000 < chance ? 1 : 0)
            for _ in 0..<count { moments.append((random.next() % 900_000, node)) }
        }
        let watched = Int(random.next() % UInt64(nodes))
        let watchedAt = random.next() % 900_000
        moments.sort { ($0.at, $0.node) < ($1.at, $1.node) }
        var at: UInt64 = 0
        var isWatched = false
        for moment in moments + [(1_000_000, -1)] {
            if !isWatched, moment.at >= watchedAt {
                simulation.run(for: .microseconds(Int64(watchedAt - at)))
                at = watchedAt
                simulation.add([next], at: watched, cost: Self.costly, isWatched: true)
                next += 1
                isWatched = true
            }
            simulation.run(for: .microseconds(Int64(moment.at - at)))
            at = moment.at
            guard moment.node >= 0 else { return }
            simulation.add([next], at: moment.node, cost: Self.cheap)
            next += 1
        }
    }

    private func collect(_ simulation: inout CacheMapSimulation) -> Int {
        var count = 0
        for node in stride(from: 0, to: nodes, by: 8) {
            let keys = simulation.held[node].keys.sorted()
            let gone = Array(keys.prefix(keys.count * gcPercent / 100))
            guard !gone.isEmpty else { continue }
            count += gone.count
            simulation.remove(gone, at: node)
            simulation.run(for: .milliseconds(100))
        }
        return count
    }

    private func measure(
        _ simulation: inout CacheMapSimulation, seconds: Int,
        _ body: (inout CacheMapSimulation, Int) -> Void
    ) -> CacheMapReport.Traffic {
        let (bytes, datagrams, stream) = (simulation.datagramBytes, simulation.datagrams, simulation.streamBytes)
        let begin = simulation.now
        for second in 0..<seconds {
            body(&simulation, second)
            let end = begin + .seconds(Int64(second + 1))
            if simulation.now < end { simulation.run(for: end - simulation.now) }
        }
        let spent = (simulation.now - begin).inSeconds * Double(nodes)
        return CacheMapReport.Traffic(
            datagrams: Double(simulation.datagrams - datagrams) / spent,
            bytes: Double(simulation.datagramBytes - bytes) / spent,
            streamBytes: Double(simulation.streamBytes - stream) / spent)
    }
}
