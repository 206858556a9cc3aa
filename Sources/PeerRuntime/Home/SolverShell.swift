internal import BuildSession
internal import CacheMap
internal import ClusterModel
internal import LLB
internal import Logging
internal import OCI
internal import Solver

/// Drives the solver of a home node: carries its effects out and tells it what came of them.
actor SolverShell {
    /// What the shell needs to know of a build that it solves for.
    struct Client: Sendable {
        var session: (any ClientSession)?
        var entitlements: Set<String>
        var progress: BuildProgress
    }

    private var solver = Solver()
    private var clients: [BuildID: Client] = [:]
    private var waiting: [BuildID: [Edge: [CheckedContinuation<Assignment.Input, any Error>]]] = [:]

    private let records: RecordIndex
    private let sources: Sources
    private let contents: ContentDigests
    private let runner: Runner
    private let jobs: Jobs
    private let dialer: any PeerDialer
    private let leases: LeaseRenewal
    private let logger: Logger
    private var isKeepingResults = false

    init(
        records: RecordIndex, sources: Sources, contents: ContentDigests, runner: Runner, jobs: Jobs,
        dialer: any PeerDialer, leases: LeaseRenewal, logger: Logger
    ) {
        self.records = records
        self.sources = sources
        self.contents = contents
        self.runner = runner
        self.jobs = jobs
        self.dialer = dialer
        self.leases = leases
        self.logger = logger
    }

    /// Vertices and builds that are held now; both 0 when no build runs.
    var held: (vertices: Int, builds: Int) { (solver.vertexCount, clients.count) }

    func begin(_ build: BuildID, _ client: Client) {
        clients[build] = client
        guard !isKeepingResults else { return }
        isKeepingResults = true
        jobs.start { await self.keepResults() }
    }

    /// While there are builds, what they still come for stays where it is: a result may wait for another branch longer
    /// than a lease lasts.
    private func keepResults() async {
        while !clients.isEmpty, (try? await Task.sleep(for: leases.period)) != nil {
            var layers: [PeerID: [Digest]] = [:]
            for result in solver.awaitedResults {
                let chains = result.outputs.flatMap { $0?.layers.map(\.id) ?? [] }
                for holder in result.holders { layers[holder, default: []] += chains }
            }
            for (holder, layers) in layers.sorted(by: { $0.key < $1.key }) {
                let distinct = Set(layers).sorted()
                if holder == dialer.selfID { _ = records.lease(layers: distinct) }
                await leases.renew(distinct, at: [holder])
            }
        }
        isKeepingResults = false
    }

    /// The build is over: what only it wanted is stopped.
    func end(_ build: BuildID) {
        apply(solver.handle(.released(build: build)))
        clients[build] = nil
        for continuations in waiting.removeValue(forKey: build)?.values.map({ $0 }) ?? [] {
            for continuation in continuations { continuation.resume(throwing: CancellationError()) }
        }
    }

    /// The tree of an edge, once it exists somewhere.
    func result(of edge: Edge, in graph: DefinitionGraph, for build: BuildID) async throws -> Assignment.Input {
        guard let client = clients[build] else { throw CancellationError() }
        client.progress.announce(graph)
        return try await withCheckedThrowingContinuation { continuation in
            waiting[build, default: [:]][edge, default: []].append(continuation)
            apply(
                solver.handle(
                    .requested(build: build, session: client.session?.id ?? build, graph: graph, edges: [edge])))
        }
    }

    /// All layers of an edge have come here, for an export: this node holds the result from now on, and says so.
    ///
    /// The loss of the node that made it then costs nothing.
    func adopt(_ edge: Edge, for build: BuildID, name: String) async {
        guard let known = solver.settled(edge.vertex, for: build), records.local(known.key) == nil else { return }
        var result = known.result
        guard result.outputs.allSatisfy({ chain in chain.map(records.holds) ?? true }) else { return }
        result.holders = [dialer.selfID]
        do {
            try await records.add(
                FoundRecord(canonicalKey: known.key, result: result), key: known.key, aliases: known.aliases, cost: 0,
                name: name)
        } catch {
            logger.warning("a result that came here is not recorded", metadata: ["error": "\(error)"])
        }
    }

    func session(of build: BuildID) -> (any ClientSession)? { clients[build]?.session }

    func nodeLost(_ peer: PeerID) { apply(solver.handle(.nodeLost(peer))) }

    private func handle(_ event: SolverEvent) { apply(solver.handle(event)) }

    /// The builds that have the vertex, the first of which lends its session to it.
    private func owners(of id: VertexID) -> [(BuildID, Client)] {
        solver.builds(of: id).compactMap { build in clients[build].map { (build, $0) } }
    }

    private func apply(_ effects: [SolverEffect]) {
        for effect in effects { apply(effect) }
    }

    private func apply(_ effect: SolverEffect) {
        switch effect {
        case .keySource(let id): start(id) { await $0.keySource(id) }
        case .lookUp(let id, let key):
            start(id) { shell in
                await shell.handle(.lookedUp(id, key: key, record: await shell.records.find(key)))
            }
        case .digestContent(let id, let input, let tree, let selections):
            start(id) { await $0.digest(id, input, tree, selections) }
        case .run(let assignment): start(assignment.vertex) { await $0.run(assignment) }
        case .cancel(let id): jobs.cancel(Self.name(of: id))
        case .alias(let alias, let canonicalKey, let result):
            guard result.holders.contains(dialer.selfID) else { break }
            jobs.start { [records, logger] in
                do {
                    try await records.add(alias: alias, to: canonicalKey)
                } catch {
                    logger.error("an alias of a record cannot be stored", metadata: ["error": "\(error)"])
                }
            }
        case .completed(let id, let outcome, let ancestors): completed(id, outcome, ancestors)
        case .vertexFailed(let id, let failure):
            for (_, client) in owners(of: id) {
                client.progress.complete(id.digest, isCached: false, error: failure.message)
            }
        case .fulfilled(let build, let edge, let tree):
            for continuation in waiting[build]?.removeValue(forKey: edge) ?? [] { continuation.resume(returning: tree) }
        case .buildFailed(let build, let id, let failure):
            let error = SolveFailure(vertex: id.digest, failure: failure)
            for continuations in waiting.removeValue(forKey: build)?.values.map({ $0 }) ?? [] {
                for continuation in continuations { continuation.resume(throwing: error) }
            }
        }
    }

    private static func name(of id: VertexID) -> String { "\(id.digest)/\(id.salt)" }

    private func start(_ id: VertexID, _ work: @escaping @Sendable (isolated SolverShell) async -> Void) {
        jobs.start(Self.name(of: id)) { await work(self) }
    }

    private func completed(_ id: VertexID, _ outcome: VertexOutcome, _ ancestors: [VertexID]) {
        announce(id)
        for (_, client) in owners(of: id) {
            for ancestor in ancestors { client.progress.complete(ancestor.digest, isCached: true) }
            let isCached = if case .cached = outcome { true } else { false }
            client.progress.complete(id.digest, isCached: isCached)
            guard let vertex = solver.vertex(id) else { continue }
            // A source that came with its result never went through placement.
            let isLoaded = vertex.isReadAtHome
            client.progress.change(reportOf: id.digest, name: vertex.name) { report in
                switch outcome {
                case .executed(let node):
                    report.outcome = isLoaded ? .loaded : .executed
                    report.node = dialer.name(of: node)
                case .merged(let node):
                    report.outcome = .merged
                    report.node = dialer.name(of: node)
                case .cached(let node):
                    report.outcome = node == dialer.selfID ? .cachedLocal : .cachedPeer
                    report.node = dialer.name(of: node)
                }
            }
        }
    }

    // MARK: What may come early

    private func sideReadings(of rest: ArraySlice<VertexID>) -> [TreeReading] {
        rest.flatMap { solver.sideReadings(of: $0) }.map { TreeReading(tree: $0.input, selections: $0.selections) }
    }

    /// A result has come to be: nodes that run what its readers grow from may fetch it.
    private func announce(_ id: VertexID) {
        for (node, reading) in solver.awaitedReadings(of: id) {
            let reading = TreeReading(tree: reading.input, selections: reading.selections)
            jobs.start { [runner] in await runner.prefetch(reading, at: node) }
        }
    }

    // MARK: Work

    private func keySource(_ id: VertexID) async {
        guard let vertex = solver.vertex(id), let (build, client) = owners(of: id).first else { return }
        let digest = id.digest
        let progresses = owners(of: id).map(\.1.progress)
        for progress in progresses { progress.begin(digest) }
        do {
            let identity = try await sources.identify(vertex, build: build, session: client.session) {
                id, name, current, total, done in
                for progress in progresses {
                    progress.status(of: digest, id: id, name: name, current: current, total: total, done: done)
                }
            }
            handle(.sourceKeyed(id, identity.key, result: identity.result))
        } catch {
            // A cancelled job reports nothing: the solver has dropped the vertex, or placed it anew.
            guard !Task.isCancelled else { return }
            handle(.failed(id, VertexFailure("\(error)")))
        }
    }

    private func digest(
        _ id: VertexID, _ input: Int, _ tree: Assignment.Input, _ selections: [ContentSelection]
    ) async {
        do {
            let digest = try await contents.digest(tree, selections)
            handle(.contentDigested(id, input: input, digest))
        } catch is LayersUnavailable {
            // Whoever held the tree is gone: it has to be made again before it can be digested.
            handle(.inputLost(id, input: input))
        } catch {
            guard !Task.isCancelled else { return }
            let text =
                "failed to compute cache key: failed to calculate checksum of ref \(tree.chain.id.hex.prefix(12)): \(error)"
            handle(.failed(id, VertexFailure(text)))
        }
    }

    private func run(_ assignment: Assignment) async {
        let id = assignment.vertex
        guard let vertex = solver.vertex(id), let (build, client) = owners(of: id).first else { return }
        let progresses = owners(of: id).map(\.1.progress)
        let work = Runner.Work(
            assignment: assignment, vertex: vertex, build: build, session: client.session,
            entitlements: client.entitlements, progresses: progresses,
            segment: assignment.rest.compactMap { solver.vertex($0)?.name },
            prefetch: { await self.sideReadings(of: assignment.rest.dropFirst()) })
        let outcome = await runner.run(work) { node in await self.handle(.placed(id, on: node)) }
        guard !Task.isCancelled else { return }
        switch outcome {
        case .finished(let result, let outcome): handle(.finished(id, result, outcome))
        case .failed(let failure): handle(.failed(id, failure))
        case .lost(let node):
            logger.warning(
                "a step lost its node and is placed anew",
                metadata: ["step": "\(vertex.name)", "node": "\(dialer.name(of: node))"])
            handle(.lost(id, on: node))
        case .inputLost(let index): handle(.inputLost(id, input: index))
        }
    }
}

/// A build's failure with the vertex that caused it.
struct SolveFailure: Error, CustomStringConvertible {
    var vertex: Digest
    var failure: VertexFailure

    var description: String { failure.message }
}
