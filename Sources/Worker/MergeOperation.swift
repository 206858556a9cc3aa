package import ClusterModel
package import LLB
package import Snapshots

/// Runs merge ops (LLB): one tree over the other, the first lowest.
package enum MergeOperation {
    package static func execute(
        _ op: Pb_MergeOp, inputs: [LayerChain], snapshots: SnapshotStore
    ) async throws -> LayerChain {
        let chains = try op.inputs.map { input throws(OperationError) in
            guard inputs.indices.contains(Int(input.input)) else {
                throw .invalid("merge: input \(input.input) is out of range; the op has \(inputs.count)")
            }
            return inputs[Int(input.input)]
        }
        return try await BlockingThread.run { try snapshots.merge(chains) }
    }
}
