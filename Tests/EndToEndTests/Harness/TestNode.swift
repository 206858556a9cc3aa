internal import Foundation
internal import Glibc

/// A `peerbuild node` process and the commands that a client gives it.
final class TestNode: @unchecked Sendable {  // Used by one test, which runs its parts in order.
    let name: String
    let root: String
    /// Address of the client API.
    let address: String
    private let workspace: Workspace
    private let arguments: [String]
    /// The node's process; replaced by `start`.
    private(set) var process: Command?

    /// The program under test: $PEERBUILD_BINARY, else the one that was built beside the tests.
    static func binary() throws -> String {
        if let path = ProcessInfo.processInfo.environment["PEERBUILD_BINARY"] { return path }
        let programs = [CommandLine.arguments.first, Bundle.main.executablePath].compactMap { $0 }
        for program in programs {
            var directory = URL(fileURLWithPath: program).deletingLastPathComponent()
            for _ in 0..<3 {
                let path = directory.appendingPathComponent("peerbuild").path
                if FileManager.default.isExecutableFile(atPath: path) { return path }
                directory.deleteLastPathComponent()
            }
        }
        throw HarnessFailure("no peerbuild beside \(programs); build it or set PEERBUILD_BINARY")
    }

    /// Describes a node that is not started yet; `namespace` is the network it runs in, nil meaning the test's own, and
    /// `resolver` a file that it sees as its resolv.conf.
    init(
        _ name: String, in workspace: Workspace, bind: String = "127.0.0.1:0", join: [String] = [], keyFile: String?,
        namespace: String? = nil, slots: Int = 2, root: String? = nil, resolver: String? = nil, more: [String] = []
    ) throws {
        self.name = name
        self.workspace = workspace
        self.root = root ?? workspace.path + "/" + name
        address = "unix://" + workspace.path + "/" + name + ".sock"
        // `ip netns exec` would hide the control groups behind a new /sys.
        var arguments = namespace.map { ["nsenter", "--net=/run/netns/\($0)"] } ?? []
        if let resolver {
            // A resolv.conf of its own, over the machine's, for this process only.
            let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""
            arguments += ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, resolver]
        }
        arguments += [try Self.binary(), "node", "--name", name, "--root", self.root, "--addr", address]
        arguments += ["--bind", bind, "--slots", "\(slots)"] + join.flatMap { ["--join", $0] } + more
        if let keyFile { arguments += ["--cluster-key-file", keyFile] }
        self.arguments = arguments
    }

    /// The node's log so far.
    var log: String { process.map { $0.output + $0.errors } ?? "" }

    // MARK: Life

    /// Starts the process and waits until clients are served.
    func start() async throws {
        try launch()
        try await eventually("node \(name) answers", state: { log }) {
            if process?.isRunning == false { throw HarnessFailure("node \(name) ended: \(log)") }
            return try await statusIfAnswered() != nil
        }
    }

    /// Starts the process.
    func launch() throws { process = try workspace.start(arguments, as: name) }

    func send(_ signal: Int32) { process?.send(signal) }

    /// SIGKILL.
    func crash() async throws {
        send(SIGKILL)
        try await eventually("the end of node \(name)") { process?.isRunning == false }
    }

    /// SIGTERM; gives the exit status.
    @discardableResult
    func stop() async throws -> Int32 {
        guard let process else { return 0 }
        send(SIGTERM)
        return try await process.end(within: 60).status
    }

    // MARK: Questions

    func command(_ arguments: [String], within seconds: Double = 60) async throws -> Command.Result {
        guard let verb = arguments.first else { throw HarnessFailure("no command") }
        // Last, since a verb may have verbs of its own.
        let all = [try Self.binary(), verb] + arguments.dropFirst() + ["--addr", address]
        return try await workspace.run(all, environment: Self.clientEnvironment, within: seconds)
    }

    private static let clientEnvironment = ["SOURCE_DATE_EPOCH": ""]

    func statusIfAnswered() async throws -> ClusterStatus? {
        let result = try await command(["status", "--format", "json"])
        guard result.status == 0 else { return nil }
        return try JSONDecoder().decode(ClusterStatus.self, from: Data(result.output.utf8))
    }

    func status() async throws -> ClusterStatus {
        guard let status = try await statusIfAnswered() else {
            throw HarnessFailure("node \(name) does not answer: \(log)")
        }
        return status
    }

    /// HOST:PORT of gossip and peer links.
    func peerAddress() async throws -> String {
        guard let member = try await status().members.first(where: { $0.name == name }) else {
            throw HarnessFailure("node \(name) does not list itself")
        }
        return member.address
    }

    /// Without a reference: of the last build that was submitted to this node.
    func explain(_ reference: String? = nil) async throws -> BuildExplanation {
        let result = try await command(["explain", "--format", "json"] + (reference.map { [$0] } ?? []))
        guard result.status == 0 else { throw HarnessFailure("explain: \(result.errors)") }
        return try JSONDecoder().decode(BuildExplanation.self, from: Data(result.output.utf8))
    }

    func waitForMember(_ name: String, _ state: String, within seconds: Double = 15) async throws {
        try await eventually("\(self.name) sees \(name) \(state)", within: seconds, state: { self.log }) {
            try await status().state(of: name) == state
        }
    }

    /// Takes nodes out of service for new work, each told itself, and waits until this one knows.
    func drain(_ nodes: [TestNode]) async throws {
        for node in nodes {
            let result = try await node.command(["drain", node.name])
            guard result.status == 0 else { throw HarnessFailure("drain \(node.name): \(result.errors)") }
            try await eventually("\(name) knows that \(node.name) is drained", state: { log }) {
                try await status().members.first { $0.name == node.name }?.conditions.contains("draining") == true
            }
        }
    }

    // MARK: Builds

    /// Starts `peerbuild build` on a context; `base` in its Dockerfile is the test's base image.
    func startBuild(_ context: String, base: BaseImage, _ more: [String] = []) throws -> Command {
        try workspace.start(
            [try Self.binary(), "build", "--addr", address, "--progress", "plain", "--build-context", base.argument]
                + more + [context],
            environment: Self.clientEnvironment)
    }

    func build(_ context: String, base: BaseImage, _ more: [String] = []) async throws -> Command.Result {
        try await startBuild(context, base: base, more).end()
    }

    /// A build that has to succeed.
    @discardableResult
    func mustBuild(_ context: String, base: BaseImage, _ more: [String] = []) async throws -> Command.Result {
        let result = try await build(context, base: base, more)
        guard result.status == 0 else {
            throw HarnessFailure("the build exits \(result.status): \(result.errors)\nlog of \(name): \(log)")
        }
        return result
    }
}
