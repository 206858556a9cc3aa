internal import BuildSession
internal import ClusterModel
internal import Foundation
internal import LLB
internal import OCI
internal import Snapshots
internal import Synchronization
internal import Transfer
internal import Worker

/// A root directory with a busybox file system and everything that runs steps over it.
final class StepFixture: Sendable {
    let root: String
    let snapshots: SnapshotStore
    let executor: StepExecutor
    let base: LayerChain

    private static let applets = [
        "cat", "chmod", "chown", "echo", "env", "grep", "hostname", "id", "ifconfig", "ip", "ls", "mkdir", "mkfifo",
        "mount", "pwd",
        "readlink", "rm", "sh", "sleep", "stat", "su", "touch", "true", "ulimit", "umount", "yes", "head",
    ]

    init(forbidsNewPrivileges: Bool = false) throws {
        root = NSTemporaryDirectory() + "peerbuild-step-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        snapshots = try SnapshotStore(root: root + "/snapshots")
        let work = try snapshots.prepare(over: .scratch)
        for directory in ["bin", "etc", "tmp"] {
            try FileManager.default.createDirectory(
                atPath: "\(work.path)/\(directory)", withIntermediateDirectories: true)
        }
        try FileManager.default.copyItem(atPath: "/bin/busybox", toPath: "\(work.path)/bin/busybox")
        for applet in Self.applets {
            try FileManager.default.createSymbolicLink(
                atPath: "\(work.path)/bin/\(applet)", withDestinationPath: "busybox")
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1001::/home/builder:/bin/sh\n"
        try Data(passwd.utf8).write(to: URL(filePath: "\(work.path)/etc/passwd"))
        try Data("root:x:0:\nbuilders:x:1001:\nextra:x:1002:builder\n".utf8).write(
            to: URL(filePath: "\(work.path)/etc/group"))
        guard let layer = try snapshots.commit(work) else { throw OperationError.invalid("an empty base") }
        base = LayerChain([layer])
        executor = try StepExecutor(
            configuration: StepExecutorConfiguration(root: root, forbidsNewPrivileges: forbidsNewPrivileges),
            snapshots: snapshots)
    }

    func close() {
        executor.shutdown()
        try? FileManager.default.removeItem(atPath: root)
    }

    /// A fixture that is taken down afterwards.
    static func with<Value>(
        forbidsNewPrivileges: Bool = false, _ body: (StepFixture) async throws -> Value
    ) async throws -> Value {
        let fixture = try StepFixture(forbidsNewPrivileges: forbidsNewPrivileges)
        do {
            let value = try await body(fixture)
            fixture.close()
            return value
        } catch {
            fixture.close()
            throw error
        }
    }

    /// A step over the base with a writable root as output 0.
    static func step(_ script: String, _ change: (inout Pb_ExecOp) -> Void = { _ in }) -> Pb_ExecOp {
        var op = Pb_ExecOp()
        op.meta.args = ["/bin/sh", "-c", script]
        op.meta.cwd = "/"
        op.meta.removeMountStubsRecursive = true
        var root = Pb_Mount()
        root.dest = "/"
        op.mounts = [root]
        change(&op)
        return op
    }

    static func mount(
        _ destination: String, _ type: Pb_MountType = .bind, input: Int64 = -1, output: Int64 = -1
    ) -> Pb_Mount {
        var mount = Pb_Mount()
        mount.dest = destination
        mount.mountType = type
        mount.input = input
        mount.output = output
        return mount
    }

    /// What a run printed and made.
    struct Run {
        var output: String
        var results: [LayerChain?]
    }

    func run(
        _ script: String, inputs: [LayerChain] = [], entitlements: Set<String> = [],
        session: (any SessionServices)? = nil,
        resources: Pb_LinuxResources? = nil, _ change: (inout Pb_ExecOp) -> Void = { _ in }
    ) async throws -> Run {
        let output = OutputCollector()
        let results = try await executor.execute(
            Self.step(script, change), platform: nil, resources: resources, inputs: [base] + inputs,
            context: OperationContext(
                session: session, entitlements: entitlements, log: { stream, bytes in output.add(stream, bytes) }))
        return Run(output: output.text, results: results)
    }

    /// Paths of the layer that a step added, below the base.
    func changes(_ run: Run) throws -> [String] {
        guard let chain = run.results.first ?? nil else { return [] }
        return try chain.layers.dropFirst().flatMap { layer in
            try snapshots.manifest(of: layer.id).entries.map { String(decoding: $0.path, as: UTF8.self) }
        }
    }

    /// A chain of one layer with these files.
    func files(_ files: [String: String]) throws -> LayerChain {
        let work = try snapshots.prepare(over: .scratch)
        for (path, content) in files.sorted(by: { $0.key < $1.key }) {
            let url = URL(filePath: "\(work.path)/\(path)")
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(content.utf8).write(to: url)
        }
        return LayerChain(try snapshots.commit(work).map { [$0] } ?? [])
    }

    /// The content of a file of a result; nil when it is not there.
    func read(_ path: String, in chain: LayerChain?) throws -> String? {
        let view = try snapshots.view(of: chain ?? .scratch)
        defer { view.release() }
        return FileManager.default.contents(atPath: "\(view.path)/\(path)").map { String(decoding: $0, as: UTF8.self) }
    }
}

/// Takes what a step prints.
final class OutputCollector: Sendable {
    private let bytes = Mutex<[UInt8]>([])

    func add(_ stream: Int, _ piece: [UInt8]) { bytes.withLock { $0 += piece } }

    var text: String { String(decoding: bytes.withLock { $0 }, as: UTF8.self) }
}

/// A client with secrets and no agents.
final class SecretSession: SessionServices {
    private let secrets: [String: String]

    init(_ secrets: [String: String]) { self.secrets = secrets }

    func secret(_ id: String) async throws -> [UInt8]? { secrets[id].map { Array($0.utf8) } }
    func credentials(forHost host: String) async throws -> RegistryCredentials? { nil }
    func connectSSHAgent(_ id: String) async throws -> any ByteDuplex { throw OperationError.sshAgentNotFound(id: id) }
    func hasSSHAgent(_ id: String) async throws -> Bool { false }
}

/// A message with fields set.
func made<Message>(_ message: Message, _ change: (inout Message) -> Void) -> Message {
    var message = message
    change(&message)
    return message
}
