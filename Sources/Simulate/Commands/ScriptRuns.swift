internal import Foundation
internal import Gossip
internal import Simulation

/// `simulate gossip --random` and `--script`: clusters that live through faults; what fails is cut down.
struct ScriptRuns {
    var nodes: Int
    var seeds: ClosedRange<UInt64>
    /// Instead of one drawn from each seed.
    var script: FaultScript?
    var configuration: GossipConfiguration

    struct Failure: Encodable {
        var seed: UInt64
        var invariantViolations: [String]
        var script: String
        var minimalScript: String
        var minimalViolations: [String]
        var command: String
    }

    struct Report: Encodable {
        var runs = 0
        var deaths: UInt64 = 0
        var falseDeaths = 0
        var invariantViolations = 0
        /// Over the traces of all runs.
        var trace = ""
        var failures: [Failure] = []
    }

    func run() throws -> Report {
        var report = Report()
        var trace: UInt64 = 0
        for seed in seeds {
            let script = script ?? FaultScript.random(seed: seed, nodes: nodes)
            let outcome = try life(seed).run(script)
            report.runs += 1
            report.deaths += outcome.deaths
            report.falseDeaths += outcome.falseDeaths
            report.invariantViolations += outcome.violations.count
            trace = trace &* 31 &+ outcome.trace
            guard !outcome.violations.isEmpty else { continue }
            let failure = try failure(seed, script, outcome.violations)
            report.failures.append(failure)
            var lines = ["violated with seed \(seed):"]
            lines += failure.minimalViolations.prefix(3).map { "  " + $0 }
            lines += ["  script: \(failure.script)", "  replay: \(failure.command)", ""]
            FileHandle.standardError.write(Data(lines.joined(separator: "\n").utf8))
        }
        report.trace = String(trace, radix: 16)
        return report
    }

    private func life(_ seed: UInt64) -> ScriptRun {
        var run = ScriptRun()
        run.nodes = nodes
        run.seed = seed
        run.configuration = configuration
        return run
    }

    private func failure(_ seed: UInt64, _ script: FaultScript, _ violations: [String]) throws -> Failure {
        var shrinker = ScriptShrinker()
        let kind = Self.kind(violations)
        var last = violations
        let minimal = shrinker.shrink(script) { smaller in
            guard let found = try? life(seed).run(smaller).violations, Self.kind(found) == kind else { return false }
            last = found
            return true
        }
        return Failure(
            seed: seed, invariantViolations: violations, script: "\(script)", minimalScript: "\(minimal)",
            minimalViolations: last,
            command: "scripts/simulate gossip --nodes \(nodes) --seeds \(seed) --script '\(minimal)'")
    }

    /// A smaller script has to break the same invariant.
    private static func kind(_ violations: [String]) -> Substring? { violations.first?.prefix { $0 != ":" } }
}
