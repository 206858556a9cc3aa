/// Traces of some seeds, written down: what a debug build of the tests and a release build of `scripts/simulate` both do.
///
/// Whoever changes what nodes send or when changes them; `scripts/simulate golden` prints the new ones.
package enum GoldenTraces {
    package struct Trace: Hashable, Sendable {
        package var name: String
        package var value: UInt64
    }

    static let expected: [String: UInt64] = [
        "scenario 1": 0xC063_6179_43F3_DB06,
        "scenario 2": 0x4C60_AB53_F671_F37B,
        "script 3": 0x4407_81C8_AA52_A879,
        "rotations 3": 0xC176_0AB2_D2E1_675B,
        "script 4": 0x3482_6747_4EF5_EED8,
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
            traces.append(Trace(name: "scenario \(seed)", value: try scenario.run().trace))
        }
        for seed in UInt64(3)...4 {
            var run = ScriptRun()
            run.seed = seed
            let script = FaultScript.random(seed: seed, nodes: run.nodes)
            traces.append(Trace(name: "script \(seed)", value: try run.run(script.withoutRotations).trace))
            guard script.rotates else { continue }
            traces.append(Trace(name: "rotations \(seed)", value: try run.run(script).trace))
        }
        var experiment = CacheMapExperiment()
        experiment.nodes = 6
        experiment.keys = 50
        experiment.seconds = 4
        experiment.lossPercent = 10
        experiment.seed = 5
        traces.append(Trace(name: "cachemap 5", value: try experiment.run().traceHash))
        return traces
    }

    /// Those of `traces` that differ from what is written down, in words.
    package static func differences(_ traces: [Trace]) -> [String] {
        traces.compactMap { trace in
            guard expected[trace.name] != trace.value else { return nil }
            let known = expected[trace.name].map { String($0, radix: 16) } ?? "nothing"
            return "\(trace.name): \(String(trace.value, radix: 16)), expected \(known)"
        }
    }
}
