internal import ArgumentParser
internal import Foundation
internal import Gossip
internal import Simulation

/// `simulate gossip`: how soon, how surely and at what price members know of each other.
struct GossipCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gossip", abstract: "Membership: detection, false deaths, joining, bytes, healing.")

    enum Format: String, ExpressibleByArgument, CaseIterable { case json, text }

    @Option(help: "Nodes of the cluster, 2 to 16,000.") var nodes = 32
    @Option(help: "Seeds, one run each: 7 or 1..20.") var seeds = SeedRange(1...5)
    @Option(help: "Datagrams lost, per cent.") var loss = 0.0
    @Option(help: "Mean length of a run of lost datagrams on one link.") var burst = 1.0
    @Option(help: "Members that fall silent, one after the other.") var crash = 0
    @Flag(help: "All crashes in one moment.") var together = false
    @Flag(help: "Processes crash, their hosts live: kernels refuse connections.") var hostLives = false
    @Option(help: "Periods of quiet in which bytes and false deaths are counted.") var periods = 20
    @Option(help: "NODESxPERIODS: nodes that stop for so many periods, run for one, and stop again.")
    var stall: String?
    @Flag(help: "With --stall: the whole host stands still.") var frozen = false
    @Option(help: "Two halves for so many periods, then healed.") var partition = 0
    @Flag(help: "Start all nodes within one period through one seed, instead of in a cluster that has formed.")
    var bootstrap = false
    @Flag(inversion: .prefixedNo, help: "Measure how long a join takes.") var join = true
    @Option(help: "Largest packet in bytes, 512 to 65,507.") var packetLimit = 1_200
    @Option(help: "Length of a period in milliseconds.") var period = 1_000
    @Flag(help: "A random script of faults for each seed instead; one that fails is cut down.") var random = false
    @Option(help: "A script of faults, as a failed --random prints it.") var script: String?
    @Option(help: "FIGURE=VALUE: fail when that figure of the sum is higher, as detectionPeriodsMean=3.5; repeatable.")
    var atMost: [String] = []
    @Option(help: "json or text.") var format = Format.text

    func validate() throws {
        guard (2...16_000).contains(nodes) else { throw ValidationError("--nodes is \(nodes), allowed is 2 to 16000") }
        guard (0...95).contains(loss) else { throw ValidationError("--loss is \(loss), allowed is 0 to 95") }
        guard crash >= 0, crash < nodes else {
            throw ValidationError("--crash is \(crash), allowed is 0 to \(nodes - 1)")
        }
        guard script == nil || parsedScript != nil else {
            throw ValidationError("--script \(script ?? "") is no script, expected such as '120 crash 3 host for 200'")
        }
        guard !random && script == nil || nodes <= Self.scriptNodesMax else {
            throw ValidationError("--nodes is \(nodes), a script allows up to \(Self.scriptNodesMax)")
        }
        guard periods > 0 else { throw ValidationError("--periods is \(periods), allowed is 1 and more") }
        guard stall == nil || parsedStall != nil else {
            throw ValidationError("--stall is \(stall ?? ""), expected NODESxPERIODS such as 8x16")
        }
        try validateBounds()
    }

    private func validateBounds() throws {
        for text in atMost where FigureBound(text) == nil {
            let figures = FigureBound.Figure.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError(
                "--at-most is \(text), expected FIGURE=VALUE with a number from 0 up; figures are \(figures)")
        }
        guard atMost.isEmpty || !random && script == nil else {
            throw ValidationError("--at-most is for measured runs; leave it out with --random and --script")
        }
    }

    private var parsedScript: FaultScript? { script.flatMap { FaultScript($0, nodes: nodes) } }

    private var parsedStall: (nodes: Int, periods: Int)? {
        let parts = (stall ?? "").split(separator: "x").compactMap { Int($0) }
        return parts.count == 2 && parts[0] > 0 && parts[0] < nodes && parts[1] > 0 ? (parts[0], parts[1]) : nil
    }

    /// Checkers look at all pairs twice a period.
    private static let scriptNodesMax = 256

    func run() throws {
        if random || script != nil { return try runScripts() }
        var runs: [GossipReport.Run] = []
        for seed in seeds.seeds {
            let outcome = try scenario(seed: seed).run()
            for violation in outcome.violations {
                FileHandle.standardError.write(
                    Data("violated with seed \(seed): \(violation)\n  replay: \(replay(seed))\n".utf8))
            }
            let run = GossipReport.Run(outcome, command: replay(seed))
            runs.append(run)
            if format == .text { print(run.line) }
        }
        let report = GossipReport(runs: runs)
        if format == .json { print(try report.json()) } else { print(report.sum.text) }
        let failures = atMost.compactMap { text in
            FigureBound(text).flatMap { $0.failure(report.sum.value(of: $0.figure)) }
        }
        for failure in failures { FileHandle.standardError.write(Data("over its bound: \(failure)\n".utf8)) }
        if report.sum.invariantViolations > 0 || !failures.isEmpty { throw ExitCode.failure }
    }

    private func runScripts() throws {
        var runs = ScriptRuns(
            nodes: nodes, seeds: seeds.seeds, script: parsedScript, configuration: GossipConfiguration())
        runs.configuration.packetLimit = packetLimit
        runs.configuration.period = .milliseconds(period)
        let report = try runs.run()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(report), as: UTF8.self))
        if report.invariantViolations > 0 { throw ExitCode.failure }
    }

    private func scenario(seed: UInt64) -> GossipScenario {
        var scenario = GossipScenario()
        scenario.nodes = nodes
        scenario.seed = seed
        scenario.loss = loss / 100
        scenario.burstLength = burst
        scenario.crashes = crash
        scenario.isMassCrash = together
        scenario.hostLives = hostLives
        scenario.periods = periods
        scenario.stalledNodes = parsedStall?.nodes ?? 0
        scenario.stallPeriods = parsedStall?.periods ?? 0
        scenario.isFrozen = frozen
        scenario.partitionPeriods = partition
        scenario.forming = bootstrap ? .bootstrap : .known
        scenario.measuresJoin = join
        scenario.configuration.packetLimit = packetLimit
        scenario.configuration.period = .milliseconds(period)
        return scenario
    }

    /// The command that does the same again.
    private func replay(_ seed: UInt64) -> String {
        var words = ["scripts/simulate gossip --nodes \(nodes) --seeds \(seed) --periods \(periods)"]
        if loss > 0 { words.append("--loss \(loss)") }
        if burst > 1 { words.append("--burst \(burst)") }
        if crash > 0 { words.append("--crash \(crash)") }
        if together { words.append("--together") }
        if hostLives { words.append("--host-lives") }
        if let stall { words.append("--stall \(stall)") }
        if frozen { words.append("--frozen") }
        if partition > 0 { words.append("--partition \(partition)") }
        if bootstrap { words.append("--bootstrap") }
        if !join { words.append("--no-join") }
        if packetLimit != 1_200 { words.append("--packet-limit \(packetLimit)") }
        if period != 1_000 { words.append("--period \(period)") }
        return words.joined(separator: " ")
    }
}
