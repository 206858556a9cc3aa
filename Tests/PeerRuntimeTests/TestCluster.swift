import ClusterModel
import Foundation
import Logging
import OCI
import Sodium
import Synchronization
import Testing

@testable import PeerRuntime

/// Real nodes in this process, on loopback, each with its own root directory, and a directory that is a small root file
/// system for their steps.
struct TestCluster: Sendable {
    /// Longest wait for something that ought to happen soon; this machine may be busy.
    static let patience = Duration.seconds(60)

    let root: String
    let nodes: [Node]
    /// What the nodes log, in the order of the nodes.
    let logs: [LogLines]

    var context: String { root + "/context" }

    /// Runs `body` with `count` nodes that know each other; takes everything down afterwards.
    static func with(
        _ count: Int, slots: Int = 2, keys: (Int) throws -> ClusterKeyRing = { _ in try .withoutKey() },
        change: (inout NodeParameters) -> Void = { _ in }, _ body: @Sendable (TestCluster) async throws -> Void
    ) async throws {
        let root = NSTemporaryDirectory() + "peerbuild-nodes-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        try makeContext(root + "/context")
        var nodes: [Node] = []
        let logs = (0..<count).map { _ in LogLines() }
        for number in 0..<count {
            var parameters = NodeParameters(
                name: "n\(number)", root: "\(root)/n\(number)", bind: PeerAddress(host: "127.0.0.1", port: 0),
                keys: try keys(number))
            parameters.slots = slots
            parameters.seed = UInt64(number)
            parameters.startSeconds = UInt32(Date().timeIntervalSince1970)
            parameters.join = nodes.first.map { [$0.peerAddress] } ?? []
            change(&parameters)
            nodes.append(
                try await Node(parameters, logger: Logger(label: "n\(number)") { _ in logs[number] }))
        }
        let cluster = TestCluster(root: root, nodes: nodes, logs: logs)
        do {
            try await cluster.run(body)
            for node in nodes { await node.stop(leaving: false) }
        } catch {
            for node in nodes { await node.stop(leaving: false) }
            throw error
        }
    }

    private func run(_ body: @Sendable (TestCluster) async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            for node in nodes { group.addTask { try await node.run() } }
            try await Self.wait("the nodes know each other") {
                nodes.allSatisfy { $0.cluster.livePeers.count == nodes.count - 1 }
            }
            try await body(self)
        }
    }

    private static func makeContext(_ path: String) throws {
        let files = FileManager.default
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "run"] {
            try files.createDirectory(atPath: "\(path)/\(name)", withIntermediateDirectories: true)
        }
        try files.copyItem(atPath: "/bin/busybox", toPath: path + "/bin/busybox")
        for name in ["sh", "sleep", "cat", "echo", "true", "wc"] {
            try files.createSymbolicLink(atPath: "\(path)/bin/\(name)", withDestinationPath: "busybox")
        }
    }

    /// Waits until a condition holds; fails after a while.
    static func wait(_ what: String, _ condition: () async throws -> Bool) async throws {
        let clock = ContinuousClock()
        let deadline = clock.now + patience
        while try await !condition() {
            try #require(clock.now < deadline, "in vain: \(what)")
            try await clock.sleep(for: .milliseconds(5))
        }
    }

    func session(_ id: String, secrets: [String: String] = [:]) -> DirectorySession {
        DirectorySession(id: id, directory: context, secrets: secrets)
    }

    /// Steps that were carried out anywhere.
    func executed() async -> UInt64 {
        var sum: UInt64 = 0
        for node in nodes { sum += await node.counters().verticesExecuted }
        return sum
    }
}
