internal import CacheMap
internal import ClusterModel
internal import LLB
internal import OCI

/// A vertex of the live graph with what is known of it so far.
struct LiveVertex: Sendable {
    /// How far the vertex has come.
    ///
    /// A vertex only moves when somebody wants its key or its result.
    enum State: Hashable, Sendable {
        /// Nothing is known, or the keys of inputs are awaited.
        case idle
        /// A source is being identified.
        case identifying
        case lookingUp(CacheKey)
        /// The definition key missed; results of inputs that count by content are awaited.
        case awaitingContent
        case digesting
        /// The canonical key is known and nobody has wanted more yet.
        case keyed
        /// It must run; results of inputs are awaited.
        case awaitingInputs
        /// It is with the placement or an executor; nil until it was placed.
        case running(on: PeerID?)
        case done
        case failed(VertexFailure)
    }

    let id: VertexID
    let vertex: Vertex
    let inputs: [LiveEdge]
    let dependencies: [InputDependency]
    let ignoresCache: Bool

    var state = State.idle
    /// Vertices that take an output of this one, in the order in which they came.
    var consumers: [VertexID] = []
    var builds: [BuildID] = []
    var isKeyWanted = false
    var isResultWanted = false
    var definitionKey: CacheKey?
    /// The canonical key: what consumers' keys are made of.
    var key: CacheKey?
    var contentDigests: [Int: Digest] = [:]
    var result: VertexResult?
    /// Set once it was decided that the vertex runs.
    var segment: SegmentID?
    /// Nodes that died with it.
    var excluded: [PeerID] = []
    /// Whether clients were told of its end.
    var isReported = false

    var dependsOnContent: Bool {
        dependencies.contains { if case .content = $0 { true } else { false } }
    }

    var isSource: Bool {
        if case .source = vertex.operation.op { true } else { false }
    }

    /// The input that the result grows from: the root file system, the base of a file op.
    var primaryInput: LiveEdge? {
        let index: Int64? =
            switch vertex.operation.op {
            case .exec(let exec): exec.mounts.first { $0.dest == "/" }?.input
            case .file(let file): file.actions.first?.input
            case .merge(let merge): merge.inputs.first?.input
            case .diff(let diff): diff.upper.input
            default: nil
            }
        guard let index, inputs.indices.contains(Int(index)) else { return nil }
        return inputs[Int(index)]
    }
}
