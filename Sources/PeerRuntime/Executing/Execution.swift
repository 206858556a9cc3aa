internal import BuildSession
internal import CacheMap
internal import ClusterModel
internal import LLB
internal import OCI
internal import Solver

/// One vertex to run on this node, for whoever asked.
struct Execution: Sendable {
    var build: BuildID
    var operation: Pb_Op
    var resources: Pb_LinuxResources?
    var name: String
    var key: CacheKey
    var aliases: [CacheKey]
    var inputs: [Assignment.Input]
    var entitlements: Set<String>
    var session: (any SessionServices)?
    var ignoresCache: Bool
    var priority: Slots.Priority
    /// What later vertices of the segment read and that exists already: it may come while this one runs.
    var prefetch: [TreeReading] = []

    /// What goes on, as it happens.
    struct Observer: Sendable {
        /// The step itself begins: its claim was granted and its inputs are here.
        var started: @Sendable () -> Void
        var log: @Sendable (_ stream: Int, _ bytes: [UInt8]) -> Void
        var progress: @Sendable (_ id: String, _ name: String, _ current: Int64, _ total: Int64, _ done: Bool) -> Void
    }

    enum Outcome: Sendable {
        /// `merged`: somebody else had run it meanwhile; nothing ran here.
        case finished(FoundRecord, merged: Bool, moved: MovedBytes, seconds: Double)
        case failed(VertexFailure)
        case inputLost(Int)
    }
}
