package import CacheMap
package import ClusterModel
package import LLB
package import OCI

/// What the solver is told.
package enum SolverEvent: Sendable {
    /// A build wants these edges of a graph. `session` binds its local sources.
    case requested(build: BuildID, session: String, graph: DefinitionGraph, edges: [Edge])
    /// A build is over or cancelled: what only it wanted is dropped.
    case released(build: BuildID)
    /// A source was identified; local directories come with their result.
    case sourceKeyed(VertexID, CacheKey, result: VertexResult?)
    case lookedUp(VertexID, key: CacheKey, record: FoundRecord?)
    case contentDigested(VertexID, input: Int, Digest)
    /// The vertex was given to a node.
    case placed(VertexID, on: PeerID)
    case finished(VertexID, VertexResult, VertexOutcome)
    /// By itself: it would fail anywhere.
    case failed(VertexID, VertexFailure)
    /// The node that had the vertex is gone, or gave it back; it runs elsewhere.
    case lost(VertexID, on: PeerID)
    /// Results that only this node held are gone.
    case nodeLost(PeerID)
    /// An input's layers cannot be had from any of its holders.
    case inputLost(VertexID, input: Int)
}

/// What the solver wants done, in the order in which it must happen.
package enum SolverEffect: Hashable, Sendable {
    /// Identify a source: resolve a reference, sync a directory.
    case keySource(VertexID)
    /// Look the key up here, then at peers.
    case lookUp(VertexID, key: CacheKey)
    /// Digest what an op reads of an input.
    case digestContent(VertexID, input: Int, Assignment.Input, [ContentSelection])
    /// Place and run.
    case run(Assignment)
    /// Nobody wants the vertex any more: stop it.
    case cancel(VertexID)
    /// The record of `key` is found under `alias` too.
    case alias(CacheKey, canonicalKey: CacheKey, VertexResult)
    /// A vertex came to its result; `ancestors` were not needed for it, so they count as cached.
    case completed(VertexID, VertexOutcome, ancestors: [VertexID])
    case vertexFailed(VertexID, VertexFailure)
    /// An edge that a build asked for is there.
    case fulfilled(build: BuildID, Edge, Assignment.Input)
    case buildFailed(build: BuildID, VertexID, VertexFailure)
}
