internal import ClusterModel
internal import Foundation
internal import LLB
internal import OCI
internal import Solver
internal import Synchronization

/// The state of a build's vertices as clients and reports see it.
final class BuildProgress: Sendable {
    private struct State {
        var vertices: [Digest: VertexProgress] = [:]
        var order: [Digest] = []
        var reports: [Digest: BuildReport.Vertex] = [:]
        var exportMoved = MovedBytes()
    }

    let log = EventLog()
    let started: Int64
    private let state = Mutex(State())

    init() { started = Self.now() }

    /// Nanoseconds since 1970.
    static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1_000_000_000) }

    /// Shows the vertices of a graph, once each.
    func announce(_ graph: DefinitionGraph) {
        for vertex in graph.vertices {
            var progress = VertexProgress(
                digest: vertex.digest, inputs: vertex.inputs.map(\.vertex), name: vertex.name)
            if vertex.metadata.hasProgressGroup { progress.progressGroup = vertex.metadata.progressGroup }
            let isNew = state.withLock { state in
                guard state.vertices[vertex.digest] == nil else { return false }
                state.vertices[vertex.digest] = progress
                state.order.append(vertex.digest)
                return true
            }
            if isNew { log.append(.vertex(progress)) }
        }
    }

    /// Shows a vertex that is no LLB op, such as an export, and runs it.
    func around<T: Sendable>(_ name: String, _ body: (Digest) async throws -> T) async throws -> T {
        let digest = Digest.of(Array("\(name)\(started)\(UUID().uuidString)".utf8))
        let progress = VertexProgress(digest: digest, inputs: [], name: name)
        state.withLock { state in
            state.vertices[digest] = progress
            state.order.append(digest)
        }
        begin(digest)
        do {
            let value = try await body(digest)
            complete(digest, isCached: false)
            return value
        } catch {
            complete(digest, isCached: false, error: "\(error)")
            throw error
        }
    }

    /// Shows what the client asked for and does not get, where the build goes on without it.
    func refuse(_ name: String, _ error: String) {
        let digest = Digest.of(Array("\(name)\(started)".utf8))
        state.withLock { state in
            state.vertices[digest] = VertexProgress(digest: digest, inputs: [], name: name)
            state.order.append(digest)
        }
        begin(digest)
        complete(digest, isCached: false, error: error)
    }

    func begin(_ digest: Digest) {
        change(digest) {
            guard $0.started == nil || $0.completed != nil else { return false }
            $0.started = Self.now()
            $0.completed = nil
            $0.isCached = false
            $0.error = ""
            return true
        }
    }

    func complete(_ digest: Digest, isCached: Bool, error: String = "") {
        change(digest) {
            guard $0.completed == nil || !error.isEmpty else { return false }
            let now = Self.now()
            $0.started = $0.started ?? now
            $0.completed = now
            $0.isCached = isCached
            $0.error = error
            return true
        }
    }

    /// Ends what is still running, as after a cancellation.
    func closeOpenVertices() {
        let open = state.withLock { state in
            state.order.filter { state.vertices[$0]?.started != nil && state.vertices[$0]?.completed == nil }
        }
        for digest in open { complete(digest, isCached: false, error: "context canceled") }
    }

    private func change(_ digest: Digest, _ body: (inout VertexProgress) -> Bool) {
        let changed: VertexProgress? = state.withLock { state in
            guard var progress = state.vertices[digest], body(&progress) else { return nil }
            state.vertices[digest] = progress
            return progress
        }
        if let changed { log.append(.vertex(changed)) }
    }

    func status(
        of digest: Digest, id: String, name: String, current: Int64, total: Int64, done: Bool
    ) {
        let now = Self.now()
        var status = StatusProgress(
            id: id, vertex: digest, name: name, current: current, total: total, timestamp: now)
        status.started = now
        if done { status.completed = now }
        log.append(.status(status))
    }

    // MARK: Reports

    func report(_ vertex: BuildReport.Vertex, for digest: Digest) {
        state.withLock { $0.reports[digest] = vertex }
    }

    func change(reportOf digest: Digest, name: String, _ body: (inout BuildReport.Vertex) -> Void) {
        state.withLock { state in
            var vertex =
                state.reports[digest]
                ?? BuildReport.Vertex(digest: "\(digest)", name: name, node: "", outcome: .cachedLocal)
            body(&vertex)
            state.reports[digest] = vertex
        }
    }

    func addExport(_ moved: MovedBytes) { state.withLock { $0.exportMoved = $0.exportMoved + moved } }

    /// `name` is what a node is called.
    func report(reference: String, home: String, name: (PeerID) -> String) -> BuildReport {
        var report = state.withLock { state in
            var report = BuildReport(
                reference: reference, home: home, vertices: state.order.compactMap { state.reports[$0] })
            report.exportMoved = state.exportMoved
            return report
        }
        for peer in report.moved.served.keys { report.servers[peer] = name(peer) }
        return report
    }

    func view(reference: String, home: String) -> BuildView {
        var view = BuildView(reference: reference, home: home, started: started)
        state.withLock { state in
            for vertex in state.vertices.values {
                view.vertices += 1
                if vertex.completed != nil {
                    view.completed += 1
                    if vertex.isCached { view.cached += 1 }
                } else if vertex.started != nil {
                    view.running += 1
                }
            }
        }
        return view
    }
}
