package import CacheMap
internal import ClusterModel
package import LLB
package import OCI

/// The live build graph of a home node, merged over all its builds: what has to be looked up, digested and run, and when.
///
/// It works from the wanted edges backwards and does the least that can decide: first keys from definitions, then keys
/// from content, and only what misses both is run. Vertices that are equal by digest are one vertex, whoever asked.
/// A decision is a value: `handle` takes an event and returns effects in the order in which they must happen.
package struct Solver: Sendable {
    /// Executors that a vertex may lose before its build fails: more than this and the step itself kills nodes.
    package static let executorsLostMax = 3

    struct Target: Sendable {
        var build: BuildID
        var requested: Edge
        var edge: LiveEdge
    }

    var live: [VertexID: LiveVertex] = [:]
    /// Insertion order of `live`: walking a dictionary would differ from run to run.
    var order: [VertexID] = []
    var targets: [Target] = []
    var failedBuilds: [BuildID] = []
    var queue: [VertexID] = []
    var effects: [SolverEffect] = []
    var segmentNodes: [SegmentID: PeerID] = [:]
    var segmentCount = 0

    package init() {}

    /// Number of vertices that live builds hold.
    package var vertexCount: Int { live.count }

    /// Number of segments whose node is remembered.
    package var segmentCountHeld: Int { segmentNodes.count }

    /// The vertex behind an id, as long as a build holds it.
    package func vertex(_ id: VertexID) -> Vertex? { live[id]?.vertex }

    /// The keys and the result of a vertex of a build; nil until it has one.
    package func settled(
        _ digest: Digest, for build: BuildID
    ) -> (key: CacheKey, aliases: [CacheKey], result: VertexResult)? {
        for id in order where id.digest == digest && live[id]?.builds.contains(build) == true {
            guard let vertex = live[id], let key = vertex.key, let result = vertex.result else { continue }
            return (key, vertex.definitionKey.map { $0 == key ? [] : [$0] } ?? [], result)
        }
        return nil
    }

    /// The builds that hold a vertex, in the order in which they came.
    package func builds(of id: VertexID) -> [BuildID] { live[id]?.builds ?? [] }

    package mutating func handle(_ event: SolverEvent) -> [SolverEffect] {
        effects = []
        switch event {
        case .requested(let build, let session, let graph, let edges):
            request(edges, of: graph, for: build, session: session)
        case .released(let build): release(build)
        case .sourceKeyed(let id, let key, let result): sourceKeyed(id, key, result)
        case .lookedUp(let id, let key, let record): lookedUp(id, key, record)
        case .contentDigested(let id, let input, let digest):
            guard live[id]?.state == .digesting else { break }
            live[id]?.contentDigests[input] = digest
            queue.append(id)
        case .placed(let id, let node):
            guard case .running = live[id]?.state else { break }
            live[id]?.state = .running(on: node)
            if let segment = live[id]?.segment { segmentNodes[segment] = node }
        case .finished(let id, let result, let outcome): finished(id, result, outcome)
        case .failed(let id, let failure): fail(id, failure)
        case .lost(let id, let node): lost(id, on: node)
        case .nodeLost(let node): nodeLost(node)
        case .inputLost(let id, let input): inputLost(id, input)
        }
        drain()
        return effects
    }

    private mutating func drain() {
        var next = 0
        while next < queue.count {
            step(queue[next])
            next += 1
        }
        queue.removeAll(keepingCapacity: true)
    }

    // MARK: Requests

    private mutating func request(_ edges: [Edge], of graph: DefinitionGraph, for build: BuildID, session: String) {
        failedBuilds.removeAll { $0 == build }
        let needed = Self.reachable(from: edges, in: graph)
        var ids: [Digest: VertexID] = [:]
        for vertex in graph.vertices where needed.contains(vertex.digest) {
            let id = merge(vertex, for: build, session: session, ids: ids)
            ids[vertex.digest] = id
        }
        for edge in edges {
            guard let id = ids[edge.vertex] else { continue }
            targets.append(Target(build: build, requested: edge, edge: LiveEdge(vertex: id, output: edge.output)))
            if live[id]?.state == .done { fulfil(id) } else { demandResult(id) }
        }
    }

    private static func reachable(from edges: [Edge], in graph: DefinitionGraph) -> Set<Digest> {
        var seen: Set<Digest> = []
        var stack = edges.map(\.vertex)
        while let next = stack.popLast() {
            guard seen.insert(next).inserted, let vertex = graph.vertex(next) else { continue }
            stack += vertex.inputs.map(\.vertex)
        }
        return seen
    }

    /// Adds a vertex to the live graph, or the build to the vertex that is there.
    private mutating func merge(
        _ vertex: Vertex, for build: BuildID, session: String, ids: [Digest: VertexID]
    ) -> VertexID {
        let inputs = vertex.inputs.compactMap { edge in
            ids[edge.vertex].map { LiveEdge(vertex: $0, output: edge.output) }
        }
        let id = VertexID(digest: vertex.digest, salt: salt(of: vertex, inputs: inputs, build: build, session: session))
        if live[id] == nil {
            live[id] = LiveVertex(
                id: id, vertex: vertex, inputs: inputs, dependencies: InputDependency.all(of: vertex),
                ignoresCache: vertex.metadata.ignoreCache)
            order.append(id)
        } else if case .failed = live[id]?.state {
            restart(id)
            live[id]?.excluded = []
            // Those that wanted its result before it failed are live as long as the build that failed is.
            queue += live[id]?.consumers ?? []
        }
        if live[id]?.builds.contains(build) == false { live[id]?.builds.append(build) }
        for input in inputs where live[input.vertex]?.consumers.contains(id) == false {
            live[input.vertex]?.consumers.append(id)
        }
        return id
    }

    /// Local files belong to a session, and work that ignores the cache to its build; so does all that comes of them.
    private func salt(of vertex: Vertex, inputs: [LiveEdge], build: BuildID, session: String) -> String {
        if vertex.metadata.ignoreCache { return "build:" + build }
        if case .source(let source) = vertex.operation.op,
            source.identifier.hasPrefix("local://") || source.identifier.hasPrefix("oci-layout://")
        {
            return "session:" + session
        }
        return inputs.map(\.vertex.salt).max() ?? ""
    }

    private mutating func release(_ build: BuildID) {
        targets.removeAll { $0.build == build }
        failedBuilds.removeAll { $0 == build }
        for id in order where live[id]?.builds.contains(build) == true {
            live[id]?.builds.removeAll { $0 == build }
        }
        let orphans = order.filter { live[$0]?.builds.isEmpty == true }
        guard !orphans.isEmpty else { return }
        let gone = Set(orphans)
        for id in orphans {
            switch live[id]?.state {
            case .running, .identifying, .lookingUp, .digesting: effects.append(.cancel(id))
            default: break
            }
            let inputs = live[id]?.inputs ?? []
            for input in inputs where !gone.contains(input.vertex) {
                live[input.vertex]?.consumers.removeAll { $0 == id }
            }
        }
        for id in orphans { live[id] = nil }
        order.removeAll(where: gone.contains)
        let segments = Set(live.values.compactMap(\.segment))
        segmentNodes = segmentNodes.filter { segments.contains($0.key) }
    }
}
