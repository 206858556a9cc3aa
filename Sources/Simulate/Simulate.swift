import ArgumentParser

/// `scripts/simulate`: whole clusters of protocol cores in one process, from a seed.
@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate", abstract: "Runs clusters of protocol cores on a virtual clock and network.",
        subcommands: [GossipCommand.self, CacheMapCommand.self, GoldenCommand.self])
}
