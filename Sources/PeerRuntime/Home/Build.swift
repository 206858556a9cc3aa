internal import BuildSession
internal import ClusterModel
internal import Foundation
internal import LLB
internal import Logging
internal import OCI
internal import Snapshots
internal import Solver
internal import Synchronization

/// A build at its home node, from its registration to its exporter response.
final class Build: BuildHandle {
    let request: BuildRequest
    let progress = BuildProgress()

    private let node: NodeParts
    private let references = Mutex<[String: (graph: DefinitionGraph, definition: Pb_Definition)]>([:])
    private let count = Mutex(0)
    private let onEnd: @Sendable (Build) async -> Void
    private let isOver = Mutex(false)
    /// Why this node ended the build, for its client; pending unless it did.
    private let stopReason = Promise<String>()

    init(_ request: BuildRequest, node: NodeParts, onEnd: @escaping @Sendable (Build) async -> Void) {
        self.request = request
        self.node = node
        self.onEnd = onEnd
        for option in request.cacheImports {
            let place = option.attributes["ref"] ?? option.attributes["src"] ?? option.type
            progress.refuse("importing cache manifest from \(place)", Self.cacheText(option, "imports"))
        }
        for option in request.cacheExports {
            progress.refuse("exporting cache to \(option.type)", Self.cacheText(option, "exports"))
        }
    }

    private static func cacheText(_ option: CacheOption, _ what: String) -> String {
        "cache \(what) of type \(option.type) are not supported; the build goes on with the cache of this cluster"
    }

    // MARK: References

    func load(_ definition: Pb_Definition) async throws -> BuildReference {
        guard !definition.def.isEmpty else { return .scratch }
        let graph = try DefinitionGraph(definition)
        progress.announce(graph)
        let number = count.withLock { count in
            count += 1
            return count
        }
        let reference = BuildReference(id: "\(request.reference)-\(number)", definition: definition)
        references.withLock { $0[reference.id] = (graph, definition) }
        return reference
    }

    func evaluate(_ reference: BuildReference) async throws {
        _ = try await untilStopped { try await self.tree(of: reference) }
    }

    /// The tree of a reference, wherever its layers are; scratch for the empty one.
    func tree(of reference: BuildReference) async throws -> Assignment.Input {
        guard !reference.isScratch else { return Assignment.Input(chain: .scratch, holders: [node.dialer.selfID]) }
        guard let graph = references.withLock({ $0[reference.id]?.graph }), let target = graph.target else {
            throw BuildError("no such ref: \(reference.id)")
        }
        do {
            return try await node.solver.result(of: target, in: graph, for: request.reference)
        } catch let error as SolveFailure {
            throw buildError(error)
        }
    }

    func untilStopped<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        do {
            return try await withThrowingTaskGroup(of: Value.self) { group in
                group.addTask(operation: body)
                group.addTask { throw BuildError(try await self.stopReason.value) }
                defer { group.cancelAll() }
                guard let value = try await group.next() else { throw CancellationError() }
                return value
            }
        } catch {
            // The part itself may have failed first, of what it stood on.
            guard let reason = try? stopReason.outcome?.get() else { throw error }
            throw BuildError(reason)
        }
    }

    /// A failure with the places in the sources that its vertex came from.
    private func buildError(_ failure: SolveFailure) -> BuildError {
        let graphs = references.withLock { $0.values.map(\.graph) }
        let sources =
            graphs.lazy.compactMap { graph in
                graph.vertex(failure.vertex) == nil ? nil : graph.locations(of: failure.vertex)
            }.first { !$0.isEmpty } ?? []
        var error = BuildError(
            failure.failure.message, vertex: failure.vertex, exitCode: failure.failure.exitCode,
            sources: sources.map { BuildError.SourceLocation(info: $0.info, ranges: $0.ranges) })
        error.isCancelled = failure.failure.isCancelled
        return error
    }

    /// The tree of a reference with all its layers on this node, where `held` keeps them.
    private func localTree(of reference: BuildReference, in held: HeldLayers) async throws -> LayerChain {
        for _ in 0..<Solver.executorsLostMax {
            let tree = try await tree(of: reference)
            if held.hold(tree.chain.layers.map(\.id)) { return tree.chain }
            do {
                let (_, moved) = try await TransferTally.counting {
                    try await node.fetcher.hold(TreeReading(tree: tree, selections: nil), in: held)
                }
                progress.addExport(moved)
                if let graph = references.withLock({ $0[reference.id]?.graph }), let target = graph.target {
                    await node.solver.adopt(
                        target, for: request.reference, name: graph.vertex(target.vertex)?.name ?? "")
                }
                return tree.chain
            } catch let error as LayersUnavailable {
                // The holder died after it had answered: the solver finds another or makes the tree anew.
                node.logger.warning("a result is lost", metadata: ["error": "\(error)"])
                for holder in tree.holders where !node.dialer.isLive(holder) { await node.solver.nodeLost(holder) }
            }
        }
        throw BuildError("the nodes that held the result of this build are gone; submit it again")
    }

    // MARK: Reading

    func readFile(_ reference: BuildReference, path: String, range: Range<Int64>?) async throws -> [UInt8] {
        try await reading(reference) { try $0.readFile(path, range: range, of: $1) }
    }

    func stat(_ reference: BuildReference, path: String) async throws -> FileStat {
        try await reading(reference) { try $0.stat(path, of: $1) }
    }

    func readDirectory(_ reference: BuildReference, path: String, pattern: String?) async throws -> [FileStat] {
        try await reading(reference) { try $0.list(path, pattern: pattern, of: $1) }
    }

    private func reading<Value>(
        _ reference: BuildReference, _ body: (ResultReader, LayerChain) throws -> Value
    ) async throws -> Value {
        let held = HeldLayers(node.snapshots)
        defer { held.release() }
        let chain = try await localTree(of: reference, in: held)
        return try body(ResultReader(snapshots: node.snapshots), chain)
    }

    func resolveSource(
        _ source: Pb_SourceOp, platform: Platform?, resolveMode: String, needsConfig: Bool
    ) async throws -> ResolvedSource {
        try await node.metadata.resolve(
            source, platform: platform ?? .host, resolveMode: resolveMode, session: request.session)
    }

    // MARK: Frontend

    func runFrontend(
        _ name: String, attributes: [String: String], inputs: [String: Pb_Definition]
    ) async throws -> BuildResult {
        try await untilStopped { [node] in
            try await FrontendRun(build: self, node: node).run(name, attributes: attributes, inputs: inputs)
        }
    }

    // MARK: The end

    func finish(_ result: BuildResult) async throws -> [String: String] {
        do {
            let response = try await untilStopped { [node] in
                try await Export(build: self, node: node).run(result)
            }
            await end()
            return response
        } catch {
            await end()
            throw error
        }
    }

    /// One platform's result, wherever its layers are.
    struct Tree: Sendable {
        /// Empty for a result without platforms.
        var platform: String
        var reference: BuildReference
        var tree: Assignment.Input
    }

    /// The trees of a result, by platform id.
    func trees(of result: BuildResult) async throws -> [Tree] {
        switch result.references {
        case .none: return []
        case .single(let reference):
            return [Tree(platform: "", reference: reference, tree: try await tree(of: reference))]
        case .platforms(let references):
            return try await withThrowingTaskGroup(of: Tree.self) { group in
                for (platform, reference) in references {
                    group.addTask {
                        Tree(platform: platform, reference: reference, tree: try await self.tree(of: reference))
                    }
                }
                var trees: [Tree] = []
                for try await tree in group { trees.append(tree) }
                return trees.sorted { $0.platform < $1.platform }
            }
        }
    }

    /// The same trees with all their layers on this node, where `held` keeps them.
    func fetch(_ trees: [Tree], in held: HeldLayers) async throws -> [Tree] {
        var local: [Tree] = []
        for var tree in trees {
            let chain = try await localTree(of: tree.reference, in: held)
            tree.tree = Assignment.Input(chain: chain, holders: [node.dialer.selfID])
            local.append(tree)
        }
        return local
    }

    /// Runs everything that the result needs; the trees stay where they are.
    func evaluateAll(_ result: BuildResult) async throws {
        switch result.references {
        case .none: break
        case .single(let reference): try await evaluate(reference)
        case .platforms(let references):
            try await withThrowingTaskGroup(of: Void.self) { group in
                for reference in references.values { group.addTask { try await self.evaluate(reference) } }
                try await group.waitForAll()
            }
        }
    }

    func abandon(reason: String) async { await end() }

    /// Ends the build for a reason of this node's; its client hears it.
    func stop(reason: String) async {
        stopReason.fulfil(reason)
        await end()
    }

    private func end() async {
        let isFirst = isOver.withLock { over in
            defer { over = true }
            return !over
        }
        guard isFirst else { return }
        await node.solver.end(request.reference)
        progress.closeOpenVertices()
        progress.log.end()
        await onEnd(self)
    }

    func events() -> AsyncStream<BuildEvent> { progress.log.events() }

    func warn(_ warning: BuildWarning) async { progress.log.append(.warning(warning)) }
}
