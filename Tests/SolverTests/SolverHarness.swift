import CacheMap
import ClusterModel
import LLB
import OCI
import Solver

/// A world around a solver: records, contents, nodes.
///
/// It answers effects until nothing is left to do, in an order that a seed chooses.
struct SolverHarness {
    static let home = PeerID(rawValue: 1)
    static let peers = (1...3).map { PeerID(rawValue: UInt64($0)) }

    var solver = Solver()
    var random: SplitMix64
    var records: [CacheKey: FoundRecord] = [:]
    /// Content digests by source identifier and path; what is not here is derived from the tree's name.
    var contents: [String: String] = [:]
    /// Steps that ran, by command, in order.
    var ran: [String] = []
    var runs: [Assignment] = []
    var fulfilled: [BuildID: [LayerChain]] = [:]
    var failed: [BuildID: VertexFailure] = [:]
    var cancelled: [VertexID] = []
    var outcomes: [VertexID: VertexOutcome] = [:]
    /// Commands that fail by themselves.
    var failing: Set<String> = []
    /// Commands that wait until somebody calls `finish`.
    var held: Set<String> = []
    private(set) var pending: [SolverEffect] = []
    private(set) var holding: [Assignment] = []
    private var nodes: [SegmentID: PeerID] = [:]

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    mutating func request(_ build: BuildID, _ graph: DefinitionGraph, session: String = "s") throws {
        guard let target = graph.target else { return }
        send(.requested(build: build, session: session, graph: graph, edges: [target]))
    }

    mutating func send(_ event: SolverEvent) { pending += solver.handle(event) }

    /// Works off effects in random order.
    mutating func settle() {
        while !pending.isEmpty {
            let index = Int(random.next() % UInt64(pending.count))
            carryOut(pending.remove(at: index))
        }
    }

    /// Lets a held step end.
    mutating func finish(_ command: String) {
        guard let index = holding.firstIndex(where: { self.command($0.vertex) == command }) else { return }
        complete(holding.remove(at: index))
        settle()
    }

    func command(_ id: VertexID) -> String {
        guard let vertex = solver.vertex(id) else { return "" }
        return switch vertex.operation.op {
        case .exec(let exec): exec.meta.args[0]
        default: vertex.name
        }
    }

    func node(of assignment: Assignment) -> PeerID {
        assignment.node ?? nodes[assignment.segment] ?? Self.peers[assignment.segment.number % Self.peers.count]
    }

    private mutating func carryOut(_ effect: SolverEffect) {
        switch effect {
        case .keySource(let id): identify(id)
        case .lookUp(let id, let key): send(.lookedUp(id, key: key, record: records[key]))
        case .digestContent(let id, let input, let tree, let selections):
            let text = selections.map { selection in
                contents[selection.path] ?? "\(tree.chain.id)\(selection.path)"
            }.joined()
            send(.contentDigested(id, input: input, Digest.of(Array(text.utf8))))
        case .run(let assignment): run(assignment)
        case .cancel(let id):
            cancelled.append(id)
            holding.removeAll { $0.vertex == id }
        case .alias(let alias, let canonicalKey, let result):
            records[alias] = FoundRecord(canonicalKey: canonicalKey, result: result)
        case .completed(let id, let outcome, _): outcomes[id] = outcome
        case .vertexFailed: break
        case .fulfilled(let build, _, let input): fulfilled[build, default: []].append(input.chain)
        case .buildFailed(let build, _, let failure): failed[build] = failure
        }
    }

    private mutating func identify(_ id: VertexID) {
        guard let vertex = solver.vertex(id) else { return }
        let key = CacheKeyAlgebra.sourceKey(kind: "test", identity: [vertex.name + (contents[vertex.name] ?? "")])
        let isLocal = vertex.name.hasPrefix("local://")
        send(.sourceKeyed(id, key, result: isLocal ? Self.result(vertex.name, on: Self.home) : nil))
    }

    private mutating func run(_ assignment: Assignment) {
        let name = command(assignment.vertex)
        runs.append(assignment)
        ran.append(name)
        let node = node(of: assignment)
        nodes[assignment.segment] = node
        send(.placed(assignment.vertex, on: node))
        if held.contains(name) {
            holding.append(assignment)
        } else {
            complete(assignment)
        }
    }

    private mutating func complete(_ assignment: Assignment) {
        let name = command(assignment.vertex)
        guard !failing.contains(name) else {
            send(.failed(assignment.vertex, VertexFailure("\(name) failed", exitCode: 3)))
            return
        }
        let node = node(of: assignment)
        let result = Self.result("\(assignment.key)", on: node)
        let record = FoundRecord(canonicalKey: assignment.key, result: result)
        for key in [assignment.key] + assignment.aliases { records[key] = record }
        send(.finished(assignment.vertex, result, .executed(on: node)))
    }

    /// A dead node's records are gone, and the solver hears of it.
    mutating func kill(_ node: PeerID) {
        records = records.filter { !$0.value.result.holders.contains(node) }
        holding = holding.filter { self.node(of: $0) != node }
        send(.nodeLost(node))
    }

    static func result(_ name: String, on node: PeerID) -> VertexResult {
        let layer = LayerDescriptor(id: Digest.of(Array(name.utf8)), bytes: 1)
        return VertexResult(outputs: [LayerChain([layer])], holders: [node])
    }
}
