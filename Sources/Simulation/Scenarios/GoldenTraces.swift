/// Traces of some seeds, written down: what a debug build of the tests and a release build of `scripts/simulate` both do.
///
/// Whoever changes what nodes send or when changes them; `scripts/simulate golden` prints the new ones.
package enum GoldenTraces {
    package struct Trace: Hashable, Sendable {
        package var name: String
        package var value: UInt64
        /// Invariants that the run broke, in words.
        package var violations: [String] = []
    }

    static let expected: [String: UInt64] = [
        "scenario 1": 0xC063_6179_43F3_DB06,
        "scenario 2": 0x4C60_AB53_F671_F37B,
        "script 3": 0x7217_B69B_C273_2E76,
        "rotations 3": 0x2332_398B_72A5_6A7D,
        "script 4": 0x73A5_A2C8_7B1A_8613,
        "cachemap 5": 0xE4DA_6AA2_9540_DCB2,
    ]

    /// Runs them all.
    package static func run() throws -> [Trace] {
        var traces: [Trace] = []
        for seed in UInt64(1)...2 {
            var scenario = GossipScenario()
            scenario.nodes = 16
            scenario.seed = seed
            scenario.loss = 0.2
            scenario.crashes = 2
            let outcome = try scenario.run()
            traces.append(
                Trace(name: "scenario \(seed)", value: outcome.trace, violations: outcome.violations))
        }
        for seed in UInt64(3)...4 {
            var run = ScriptRun()
            run.seed = seed
            let script = FaultScript.random(seed: seed, nodes: run.nodes)
            let outcome = try run.run(script.withoutRotations)
            traces.append(Trace(name: "script \(seed)", value: outcome.trace, violations: outcome.violations))
            guard script.rotates else { continue }
            let rotated = try run.run(script)
            traces.append(Trace(name: "rotations \(seed)", value: rotated.trace, violations: rotated.violations))
        }
        var experiment = CacheMapExperiment()
        experiment.nodes = 6
        experiment.keys = 50
        experiment.seconds = 4
        experiment.lossPercent = 10
        experiment.seed = 5
        let report = try experiment.run()
        traces.append(Trace(name: "cachemap 5", value: report.traceHash, violations: report.violations))
        return traces
    }

    /// Those of `traces` that differ from what is written down, and the invariants that their runs broke, in words.
    package static func differences(_ traces: [Trace]) -> [String] {
        traces.flatMap { trace -> [String] in
            let broken = trace.violations.map { "\(trace.name): violated: \($0)" }
            guard expected[trace.name] != trace.value else { return broken }
            let known = expected[trace.name].map { String($0, radix: 16) } ?? "nothing"
            return ["\(trace.name): \(String(trace.value, radix: 16)), expected \(known)"] + broken
        }
    }
}
