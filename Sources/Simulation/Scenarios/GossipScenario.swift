internal import ClusterModel
package import Gossip

/// One measured life of a cluster: form, stay quiet, be joined, lose members, stall, fall apart and heal.
package struct GossipScenario: Sendable {
    package enum Forming: Sendable { case known, bootstrap }

    package var nodes = 32
    package var seed: UInt64 = 1
    /// Share of datagrams lost while measuring, 0...1, and the mean length of a run of losses.
    package var loss = 0.0
    package var burstLength = 1.0
    package var crashes = 0
    /// All crashes in one moment instead of one after the other.
    package var isMassCrash = false
    /// Crashed processes on hosts that live: the kernel answers.
    package var hostLives = false
    /// Periods of quiet in which bytes and false deaths are counted.
    package var periods = 20
    /// So many nodes stop for `stallPeriods`, run for one, and stop again, all through the quiet periods.
    package var stalledNodes = 0
    package var stallPeriods = 0
    /// The kernel of a stalled node stands still too.
    package var isFrozen = false
    /// Two halves for so many periods; 0 for none.
    package var partitionPeriods = 0
    package var forming = Forming.known
    package var measuresJoin = true
    package var configuration = GossipConfiguration()

    /// What is waited for at most, in periods.
    private static let patience = 120.0

    package init() {}

    /// What one run showed; times in periods.
    package struct Outcome: Sendable {
        package var seed: UInt64
        package var bootstrapPeriods: Double?
        package var joinPeriods: Double?
        package var detectionPeriods: [Double] = []
        package var bytesPerNodePerPeriod: Double?
        package var falseDeaths = 0
        package var healPeriods: Double?
        package var violations: [String] = []
        package var suspicions: UInt64 = 0
        package var trace: UInt64 = 0
    }

    package func run() throws(GossipConfigurationError) -> Outcome {
        var outcome = Outcome(seed: seed)
        var cluster = ClusterSimulation(seed: seed, configuration: configuration)
        cluster.keepsObservations = false
        try form(&cluster, &outcome)
        cluster.network.loss = loss
        cluster.network.burstLength = burstLength
        beQuiet(&cluster, &outcome)
        if measuresJoin { try join(&cluster, &outcome) }
        crash(&cluster, &outcome)
        splitAndHeal(&cluster, &outcome)
        finish(&cluster, &outcome)
        return outcome
    }

    // MARK: Acts

    private func form(_ cluster: inout ClusterSimulation, _ outcome: inout Outcome) throws(GossipConfigurationError) {
        if case .bootstrap = forming {
            var random = SplitMix64(seed: SplitMix64.mix(seed ^ 0xB007))
            let began = cluster.now
            // All start within one period.
            var starts = (1..<nodes).map { _ in period * (Double(random.next() >> 11) / Double(1 << 53)) }.sorted()
            starts.insert(.zero, at: 0)
            for start in starts {
                cluster.run(for: max(.zero, began + start - cluster.now))
                _ = try cluster.start(seeds: cluster.nodes.isEmpty ? [] : [0])
            }
            guard cluster.run(within: period * Self.patience, every: step, until: { ConvergenceChecker().holds($0) })
            else {
                outcome.violations.append("bootstrap: not one cluster after \(Self.patience) periods")
                return
            }
            outcome.bootstrapPeriods = periods(since: began, cluster)
        } else {
            try cluster.startFormed(nodes)
        }
        cluster.run(for: period * 3)
    }

    private func beQuiet(_ cluster: inout ClusterSimulation, _ outcome: inout Outcome) {
        let before = cluster.nodes.reduce(0) { $0 + $1.wireBytes }
        let end = cluster.now + period * Double(periods)
        if stalledNodes > 0, stallPeriods > 0 {
            while cluster.now < end {
                for index in 0..<min(stalledNodes, nodes) {
                    cluster.pause(
                        index * (nodes / stalledNodes), for: period * Double(stallPeriods), isFrozen: isFrozen)
                }
                cluster.run(for: period * Double(stallPeriods + 1))
            }
        } else {
            cluster.run(for: end - cluster.now)
        }
        let bytes = cluster.nodes.reduce(0) { $0 + $1.wireBytes } - before
        outcome.bytesPerNodePerPeriod = Double(bytes) / Double(nodes) / Double(periods)
    }

    private func join(_ cluster: inout ClusterSimulation, _ outcome: inout Outcome) throws(GossipConfigurationError) {
        let began = cluster.now
        let fresh = try cluster.start(seeds: [0])
        let isKnown = cluster.run(within: period * Self.patience, every: step) { cluster in
            cluster.nodes[fresh].membership.upCount == nodes + 1
                && cluster.running.allSatisfy { cluster.state(of: fresh, seenBy: $0) == .alive }
        }
        if isKnown {
            outcome.joinPeriods = periods(since: began, cluster)
        } else {
            outcome.violations.append("join: n\(fresh) is not known by all after \(Self.patience) periods")
        }
        cluster.run(for: period * 3)
    }

    private func crash(_ cluster: inout ClusterSimulation, _ outcome: inout Outcome) {
        var random = SplitMix64(seed: SplitMix64.mix(seed ^ 0xC4A5))
        var left = crashes
        while left > 0 {
            cluster.run(for: period * (Double(random.next() >> 11) / Double(1 << 53)))
            var down: [Int] = []
            for _ in 0..<(isMassCrash ? left : 1) {
                var running = cluster.running
                running.removeAll { $0 == 0 }
                guard running.count > 1 else { break }
                let victim = running[Int(random.next() >> 33) % running.count]
                cluster.crash(victim, isHostDown: !hostLives)
                down.append(victim)
            }
            guard !down.isEmpty else { return }
            left -= down.count
            let began = cluster.now
            let isKnown = cluster.run(within: period * Self.patience, every: step) { cluster in
                down.allSatisfy { victim in
                    cluster.running.allSatisfy { cluster.state(of: victim, seenBy: $0) == .dead }
                }
            }
            if isKnown {
                outcome.detectionPeriods.append(periods(since: began, cluster))
            } else {
                outcome.violations.append("completeness: \(down.count) crashed nodes are not dead everywhere")
            }
            cluster.run(for: period * 2)
        }
    }

    private func splitAndHeal(_ cluster: inout ClusterSimulation, _ outcome: inout Outcome) {
        guard partitionPeriods > 0 else { return }
        for index in cluster.nodes.indices where index % 2 == 1 { cluster.network.setGroup(1, of: index) }
        cluster.run(for: period * Double(partitionPeriods))
        cluster.network.heal()
        let began = cluster.now
        if cluster.run(within: period * Self.patience, every: step, until: { ConvergenceChecker().holds($0) }) {
            outcome.healPeriods = periods(since: began, cluster)
        } else {
            outcome.violations.append("heal: the halves are not one cluster after \(Self.patience) periods")
        }
    }

    private func finish(_ cluster: inout ClusterSimulation, _ outcome: inout Outcome) {
        cluster.network.loss = 0
        if !cluster.run(within: period * 40, every: period, until: { ConvergenceChecker().holds($0) }) {
            outcome.violations.append("convergence: tables differ after 40 periods without loss")
        }
        outcome.falseDeaths = cluster.falseDeaths.count
        outcome.violations += cluster.violations
        outcome.suspicions = cluster.nodes.reduce(0) { $0 + $1.membership.counters.suspicions }
        outcome.trace = cluster.traceHash
    }

    private var period: Duration { configuration.period }
    private var step: Duration { period * 0.01 }

    private func periods(since began: MonotonicInstant, _ cluster: ClusterSimulation) -> Double {
        (cluster.now - began).inSeconds / period.inSeconds
    }
}
