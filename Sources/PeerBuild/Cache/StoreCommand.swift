internal import ArgumentParser
internal import OCI
internal import PeerRuntime

/// `peerbuild store`.
struct StoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Looks after the layers of a node.",
        subcommands: [VerifyCommand.self])

    /// `peerbuild store verify`.
    struct VerifyCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify", abstract: "Hashes every layer again and names what is damaged.",
            discussion: """
                Ends with 1 when something is. The node may run meanwhile, except with --repair: damaged layers are taken out of use; the node fetches what is \
                bad from a peer when it needs the layer, and keeps what is good.
                """)

        @Option(help: "The node's root directory.") var root = "/var/lib/peerbuild"
        @Flag(help: "Takes damaged layers out of use.") var repair = false

        func run() async throws {
            let store = try StoreVerification(root: root, settingAside: repair)
            var count = 0
            var damaged = 0
            for layer in try store.layers() {
                count += 1
                let lines = try store.verify(layer, settingAside: repair)
                if !lines.isEmpty { damaged += 1 }
                for line in lines { Terminal.printResult(line) }
            }
            Terminal.printResult("\(count) layers, \(damaged) damaged")
            if damaged > 0 { throw ExitCode(1) }
        }
    }
}
