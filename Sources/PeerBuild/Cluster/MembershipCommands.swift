internal import ArgumentParser
internal import BuildClient

/// `peerbuild drain`: no new work for a node.
struct DrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Takes a node out of service for new work.")

    @OptionGroup var options: NodeOptions
    @Argument(help: "Name of the node.") var node: String

    func run() async throws {
        let node = node
        try await options.withNode { try await $0.drain(node: node, true) }
    }
}

/// `peerbuild uncordon`: takes `drain` back.
struct UncordonCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uncordon", abstract: "Takes a drained node back into service.")

    @OptionGroup var options: NodeOptions
    @Argument(help: "Name of the node.") var node: String

    func run() async throws {
        let node = node
        try await options.withNode { try await $0.drain(node: node, false) }
    }
}

/// `peerbuild leave`: the addressed node says good-bye and stops.
struct LeaveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave", abstract: "Makes the addressed node leave the cluster and stop.")

    @OptionGroup var options: NodeOptions

    func run() async throws { try await options.withNode { try await $0.leave() } }
}

/// `peerbuild version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Prints the version.")

    func run() { Terminal.printResult("peerbuild \(PeerBuildCommand.version)") }
}
