internal import ArgumentParser
internal import BuildClient
internal import Foundation

/// `peerbuild build`.
struct BuildCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Builds an image or files from a Dockerfile.", aliases: ["b"])

    @OptionGroup var node: NodeOptions
    @OptionGroup var options: BuildOptions

    func run() async throws {
        let environment = ProcessInfo.processInfo.environment
        let scratch = ScratchDirectories()
        defer { scratch.remove() }
        let world = BuildPlan.World(
            environment: environment, standardInput: Self.readStandardInput, temporaryDirectory: scratch.make)
        let plan = try BuildPlan(options, world)
        var request = plan.request
        request.credentials = try DockerConfig(directory: Self.dockerDirectory(environment))
        let embedded = try await embeddedNode(environment)
        let (addresses, tls) = (try addresses(environment, embedded), node.tls)
        for remark in plan.remarks where !options.quiet { Terminal.printError("peerbuild: \(remark)") }
        let mode = options.quiet ? .quiet : options.progress ?? Self.mode(environment)
        let display = ProgressDisplay(
            mode.printer(isTerminal: Terminal.isInteractive, columns: Terminal.columns), write: Terminal.writeProgress)
        let submitted = request
        let build = Task {
            try await NodeConnection.with(anyOf: addresses, tls: tls) { connection in
                try await BuildRun(submitted, on: connection).run { await display.show($0) }
            }
        }
        let interrupts = Interrupts { build.cancel() }
        let drawing = Task { await display.draw() }
        let result = await build.result
        drawing.cancel()
        await drawing.value
        await display.finish()
        await embedded?.stop()
        interrupts.stop()
        try report(try result.get())
    }

    /// With the default address and nobody there: a node in this process.
    private func embeddedNode(_ environment: [String: String]) async throws -> EmbeddedNode? {
        let choice = try node.choice(environment: environment)
        guard !choice.isExplicit else { return nil }
        do {
            _ = try await NodeConnection.firstListening(choice.addresses)
            return nil
        } catch is UnreachableError {
            Terminal.printError("peerbuild: no node answers at \(choice.addresses[0]); building in this process")
            return try await EmbeddedNode.start()
        }
    }

    private func addresses(_ environment: [String: String], _ embedded: EmbeddedNode?) throws -> [NodeAddress] {
        guard let embedded else { return try node.choice(environment: environment).addresses }
        return [try NodeAddress(parsing: embedded.address)]
    }

    private func report(_ outcome: BuildRun.Outcome) throws {
        if options.check { return try reportCheck(outcome) }
        let response = outcome.exporterResponse
        let imageID = response["containerimage.config.digest"] ?? response["containerimage.digest"]
        if let file = options.imageIDFile { try Data((imageID ?? "").utf8).write(to: URL(fileURLWithPath: file)) }
        if let file = options.metadataFile {
            try BuildMetadata.json(of: response).write(to: URL(fileURLWithPath: file))
        }
        if options.quiet, let imageID { Terminal.printResult(imageID) }
    }

    private func reportCheck(_ outcome: BuildRun.Outcome) throws {
        let text = String(decoding: outcome.metadata["result.txt"] ?? [], as: UTF8.self)
        Terminal.printResult(text.isEmpty ? "Check complete, no warnings found." : text)
        let status = Int32(String(decoding: outcome.metadata["result.statuscode"] ?? [], as: UTF8.self)) ?? 0
        guard status == 0 else { throw ExitCode(status) }
    }

    private static func mode(_ environment: [String: String]) -> ProgressMode {
        environment["BUILDKIT_PROGRESS"].flatMap(ProgressMode.init(rawValue:)) ?? .auto
    }

    private static func dockerDirectory(_ environment: [String: String]) -> String {
        environment["DOCKER_CONFIG"] ?? (environment["HOME"] ?? "/root") + "/.docker"
    }

    private static func readStandardInput() throws -> [UInt8] {
        var data = Data()
        while let piece = try FileHandle.standardInput.read(upToCount: 1 << 20), !piece.isEmpty {
            data += piece
            guard data.count <= BuildPlan.standardInputBytesMax else {
                throw BuildPlanError("standard input has more than \(BuildPlan.standardInputBytesMax) bytes")
            }
        }
        return Array(data)
    }
}

/// `--metadata-file`.
enum BuildMetadata {
    /// The exporters' response; values that are base64 of a JSON object are shown as that object.
    static func json(of response: [String: String]) throws -> Data {
        let values = response.mapValues { text -> Any in
            guard let data = Data(base64Encoded: text),
                let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any]
            else { return text }
            return object
        }
        return try JSONSerialization.data(
            withJSONObject: values, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes])
    }
}
