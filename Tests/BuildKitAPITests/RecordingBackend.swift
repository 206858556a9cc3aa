import BuildSession
import Foundation
import LLB
import OCI
import PeerRuntime
import Synchronization

/// A backend that builds nothing but keeps every call, and does what a test tells it to.
final class RecordingBackend: BuildBackend {
    struct Behaviour: Sendable {
        var load: @Sendable (RecordingBuild, Pb_Definition) async throws -> BuildReference = { build, definition in
            BuildReference(id: "ref-\(build.nextNumber())", definition: definition)
        }
        var frontend: @Sendable (RecordingBuild, String, [String: String]) async throws -> BuildResult = { _, name, _ in
            throw BuildError("no frontend \(name)")
        }
        var evaluate: @Sendable (RecordingBuild, BuildReference) async throws -> Void = { _, _ in }
        var finish: @Sendable (RecordingBuild, BuildResult) async throws -> [String: String] = { _, _ in [:] }
    }

    let worker = WorkerDescription(
        id: "node-1", labels: ["org.mobyproject.buildkit.worker.executor": "oci"],
        platforms: [Platform(os: "linux", architecture: "amd64")], version: "0.1.0")
    let behaviour: Behaviour
    private let state = Mutex((builds: [RecordingBuild](), usage: [CacheUsage]()))

    init(_ behaviour: Behaviour = Behaviour(), usage: [CacheUsage] = []) {
        self.behaviour = behaviour
        state.withLock { $0.usage = usage }
    }

    var builds: [RecordingBuild] { state.withLock { $0.builds } }

    func beginBuild(_ request: BuildRequest) async throws -> any BuildHandle {
        let build = RecordingBuild(request, behaviour)
        state.withLock { $0.builds.append(build) }
        return build
    }

    func diskUsage() async throws -> DiskUsageReport {
        state.withLock { DiskUsageReport(records: $0.usage, freeBytes: 1 << 30) }
    }

    func removeUsage(ids: [String]) async throws -> [CacheUsage] {
        state.withLock { state in
            let removed = ids.compactMap { id in state.usage.first { $0.id == id } }
            state.usage.removeAll { ids.contains($0.id) }
            return removed
        }
    }
}

/// One build of the recording backend.
final class RecordingBuild: BuildHandle {
    let request: BuildRequest
    private let behaviour: RecordingBackend.Behaviour
    private struct State {
        var calls: [String] = []
        var number = 0
        var warnings: [BuildWarning] = []
        var history: [BuildEvent] = []
        var listeners: [AsyncStream<BuildEvent>.Continuation] = []
        var hasEnded = false
        var results: [BuildResult] = []
    }
    private let state = Mutex(State())

    init(_ request: BuildRequest, _ behaviour: RecordingBackend.Behaviour) {
        self.request = request
        self.behaviour = behaviour
    }

    var calls: [String] { state.withLock { $0.calls } }
    var warnings: [BuildWarning] { state.withLock { $0.warnings } }
    var finished: [BuildResult] { state.withLock { $0.results } }
    func note(_ call: String) { state.withLock { $0.calls.append(call) } }
    func nextNumber() -> Int {
        state.withLock { state in
            state.number += 1
            return state.number
        }
    }

    func emit(_ event: BuildEvent) {
        state.withLock { state in
            state.history.append(event)
            for listener in state.listeners { listener.yield(event) }
        }
    }

    private func endEvents() {
        state.withLock { state in
            state.hasEnded = true
            for listener in state.listeners { listener.finish() }
            state.listeners = []
        }
    }

    func load(_ definition: Pb_Definition) async throws -> BuildReference {
        note("load \(definition.def.count)")
        return try await behaviour.load(self, definition)
    }

    func runFrontend(
        _ name: String, attributes: [String: String], inputs: [String: Pb_Definition]
    ) async throws -> BuildResult {
        note("frontend \(name)")
        return try await behaviour.frontend(self, name, attributes)
    }

    func evaluate(_ reference: BuildReference) async throws {
        note("evaluate \(reference.id)")
        try await behaviour.evaluate(self, reference)
    }

    func readFile(_ reference: BuildReference, path: String, range: Range<Int64>?) async throws -> [UInt8] {
        note("readFile \(reference.id) \(path) \(range.map { "\($0)" } ?? "whole")")
        guard path == "/hello" else { throw BuildError("open \(path): no such file or directory") }
        let bytes = Array("hello world".utf8)
        guard let range else { return bytes }
        return Array(bytes[Int(range.lowerBound)..<min(bytes.count, Int(range.upperBound))])
    }

    func stat(_ reference: BuildReference, path: String) async throws -> FileStat {
        note("stat \(path)")
        return FileStat(path: path, mode: S_IFDIR | 0o755)
    }

    func readDirectory(_ reference: BuildReference, path: String, pattern: String?) async throws -> [FileStat] {
        note("readDir \(path) \(pattern ?? "-")")
        return [FileStat(path: "a", mode: S_IFREG | 0o644, size: 3), FileStat(path: "b", mode: S_IFLNK | 0o777)]
    }

    func resolveSource(
        _ source: Pb_SourceOp, platform: Platform?, resolveMode: String, needsConfig: Bool
    ) async throws -> ResolvedSource {
        note("resolve \(source.identifier) \(platform.map(\.description) ?? "-") \(needsConfig)")
        return ResolvedSource(source: source, digest: Digest.of(Array("x".utf8)), config: Array("{}".utf8))
    }

    func finish(_ result: BuildResult) async throws -> [String: String] {
        note("finish")
        state.withLock { $0.results.append(result) }
        defer { endEvents() }
        return try await behaviour.finish(self, result)
    }

    func untilStopped<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value { try await body() }

    func abandon(reason: String) async {
        note("abandon \(reason)")
        endEvents()
    }

    func events() -> AsyncStream<BuildEvent> {
        let (stream, continuation) = AsyncStream<BuildEvent>.makeStream()
        state.withLock { state in
            for event in state.history { continuation.yield(event) }
            if state.hasEnded { continuation.finish() } else { state.listeners.append(continuation) }
        }
        return stream
    }

    func warn(_ warning: BuildWarning) async { state.withLock { $0.warnings.append(warning) } }
}

/// A cluster of one node.
struct LoneNode: ClusterView {
    func members() async -> [MemberView] {
        [MemberView(name: "n1", id: "1", address: "127.0.0.1:7946", state: "alive")]
    }
    func builds() async -> [BuildView] { [] }
    func counters() async -> NodeCounters { NodeCounters() }
    func gossip() async -> GossipView { GossipView() }
    func links() async -> LinksView { LinksView() }
    func changeKeys(_ change: KeyChange) async throws -> [KeyView] { [] }
    func report(ofBuild reference: String?) async -> BuildReport? { nil }
    func setDraining(node: String, _ draining: Bool) async throws { throw BuildError("no member is named \(node)") }
    func leave() async {}
}
