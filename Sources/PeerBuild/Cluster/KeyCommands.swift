internal import ArgumentParser
internal import BuildClient
internal import BuildKitProtocol
internal import Foundation

/// `peerbuild keys`: the cluster keys, changed while the cluster runs.
struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Shows and changes the keys that the cluster is sealed with.",
        discussion: """
            Each change goes to all live members before the command returns. `keys rotate` does a whole change of keys; \
            install, use and remove are its steps.
            """,
        subcommands: [List.self, Install.self, Use.self, Remove.self, Rotate.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "list", abstract: "Shows the keys of a node.")

        @OptionGroup var node: NodeOptions
        @Option(help: "table or json.") var format = StatusCommand.Format.table

        func run() async throws { try await KeysCommand.run(node, .list, format: format) }
    }

    struct Install: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "install", abstract: "Gives all members a key that opens, and does not seal yet.",
            discussion:
                "The key is read from a file or standard input, never from the command line, which others can see.")

        @OptionGroup var node: NodeOptions
        @Option(help: "table or json.") var format = StatusCommand.Format.table
        @Argument(help: "File with one key as `peerbuild keygen` prints it; - reads standard input.") var file: String

        func run() async throws {
            try await KeysCommand.run(node, .install, key: try Self.key(in: file), format: format)
        }

        /// Longest file that is read: a key and some blank lines.
        private static let bytesMax = 4_096

        static func key(in file: String) throws -> String {
            let handle: FileHandle
            if file == "-" {
                handle = .standardInput
            } else if let opened = FileHandle(forReadingAtPath: file) {
                handle = opened
            } else {
                throw ValidationError("\(file) can't be read")
            }
            let data = try handle.read(upToCount: bytesMax) ?? Data()
            let lines = String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline).map {
                $0.trimmingCharacters(in: .whitespaces)
            }.filter { !$0.isEmpty && !$0.hasPrefix("#") }
            guard lines.count == 1 else {
                throw ValidationError("\(file) holds \(lines.count) keys; give one, as `peerbuild keygen` prints it")
            }
            return lines[0]
        }
    }

    struct Use: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "use", abstract: "Lets an installed key seal.")

        @OptionGroup var node: NodeOptions
        @Option(help: "table or json.") var format = StatusCommand.Format.table
        @Argument(help: "First digits of the key's fingerprint.") var key: String

        func run() async throws { try await KeysCommand.run(node, .use, key: key, format: format) }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove",
            abstract: "Retires a key: it opens for a grace (cluster.key-grace) for members that were away.")

        @OptionGroup var node: NodeOptions
        @Option(help: "table or json.") var format = StatusCommand.Format.table
        @Argument(help: "First digits of the key's fingerprint.") var key: String

        func run() async throws { try await KeysCommand.run(node, .remove, key: key, format: format) }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate",
            abstract: "Makes a new key, gives it to all members, lets it seal, and retires the others.")

        @OptionGroup var node: NodeOptions
        @Option(help: "table or json.") var format = StatusCommand.Format.table

        func run() async throws { try await KeysCommand.run(node, .rotate, format: format) }
    }

    private static func run(
        _ node: NodeOptions, _ action: Peerbuild_V1_KeysRequest.Action, key: String = "", format: StatusCommand.Format
    ) async throws {
        let keys = try await node.withNode { try await $0.keys(action, key) }.map(StatusReport.Key.init)
        switch format {
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            Terminal.printResult(String(decoding: try encoder.encode(keys), as: UTF8.self))
        case .table:
            let rows = keys.map { [$0.fingerprint, $0.state, "\($0.generation)", $0.retiredUntil] }
            Terminal.printResult(TextTable.format(["KEY", "STATE", "GENERATION", "OPENS UNTIL"], rows))
        }
    }
}
