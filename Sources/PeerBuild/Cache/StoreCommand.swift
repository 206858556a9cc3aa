internal import ArgumentParser
internal import OCI
internal import PeerRuntime

/// `peerbuild store`.
struct StoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Looks after the layers and blobs of a node.",
        subcommands: [VerifyCommand.self])

    /// `peerbuild store verify`.
    struct VerifyCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify", abstract: "Hashes every layer and blob again and names what is damaged.",
            discussion: """
                Ends with 1 when something is. The node may run meanwhile, except with --repair: damaged layers and \
                blobs are taken out of use. The node fetches what is bad of a layer from a peer when it needs the \
                layer, and keeps what is good; a blob comes again whole, from a peer or its registry.
                """)

        @Option(help: "The node's root directory.") var root = "/var/lib/peerbuild"
        @Flag(help: "Takes damaged layers and blobs out of use.") var repair = false

        func run() async throws {
            let store = try StoreVerification(root: root, settingAside: repair)
            let damagedBlobs = try verifyBlobs(of: store)
            let damagedLayers = try verifyLayers(of: store)
            if damagedBlobs + damagedLayers > 0 { throw ExitCode(1) }
        }

        /// Prints what is damaged; returns how many blobs are.
        private func verifyBlobs(of store: StoreVerification) throws -> Int {
            var (count, damaged) = (0, 0)
            var bytes: Int64 = 0
            for digest in try store.blobs() {
                guard let blob = try store.verify(blob: digest, settingAside: repair) else { continue }
                count += 1
                bytes += blob.bytes
                guard let damage = blob.damage else { continue }
                damaged += 1
                Terminal.printResult(damage)
            }
            Terminal.printResult("\(count) blobs (\(bytes) bytes), \(damaged) damaged")
            return damaged
        }

        /// Prints what is damaged; returns how many layers are.
        private func verifyLayers(of store: StoreVerification) throws -> Int {
            var (count, damaged) = (0, 0)
            for layer in try store.layers() {
                count += 1
                let lines = try store.verify(layer, settingAside: repair)
                if !lines.isEmpty { damaged += 1 }
                for line in lines { Terminal.printResult(line) }
            }
            Terminal.printResult("\(count) layers, \(damaged) damaged")
            return damaged
        }
    }
}
