package import ClusterModel
package import LLB
package import Snapshots

/// Runs diff ops (LLB): what leads from one tree to the other, deletions as whiteouts.
///
/// Input -1 is scratch.
package enum DiffOperation {
    package static func execute(
        _ op: Pb_DiffOp, inputs: [LayerChain], snapshots: SnapshotStore
    ) async throws -> LayerChain {
        let lower = try chain(op.lower.input, inputs)
        let upper = try chain(op.upper.input, inputs)
        return try await BlockingThread.run { try snapshots.diff(lower: lower, upper: upper) }
    }

    private static func chain(_ index: Int64, _ inputs: [LayerChain]) throws(OperationError) -> LayerChain {
        guard index >= 0 else { return .scratch }
        guard index < inputs.count else {
            throw .invalid("diff: input \(index) is out of range; the op has \(inputs.count)")
        }
        return inputs[Int(index)]
    }
}
