internal import Glibc
internal import Simulation

/// Runs one simulation and prints what it measured.
private func simulate(_ arguments: [String]) -> Int32 {
    do {
        switch arguments.first {
        case "cachemap":
            let clock = ContinuousClock()
            let origin = clock.now
            let outcome = try CacheMapCommand.run(Array(arguments.dropFirst())) {
                let (seconds, attoseconds) = (clock.now - origin).components
                return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
            }
            print(outcome.text)
            return outcome.isGood ? 0 : 1
        default:
            print(CacheMapCommand.usage)
            return 64
        }
    } catch {
        print("simulate: \(error)")
        return 64
    }
}

exit(simulate(Array(CommandLine.arguments.dropFirst())))
