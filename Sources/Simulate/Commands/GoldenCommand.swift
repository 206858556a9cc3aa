internal import ArgumentParser
internal import Simulation

/// `simulate golden`: whether this build does what is written down, as the tests check it for a debug build.
struct GoldenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "golden", abstract: "The traces that every build and machine must give, and their invariants.")

    func run() throws {
        let traces = try GoldenTraces.run()
        for trace in traces { print("\(trace.name): \(String(trace.value, radix: 16))") }
        let differences = GoldenTraces.differences(traces)
        for difference in differences { print("golden: \(difference)") }
        if !differences.isEmpty { throw ExitCode.failure }
    }
}
