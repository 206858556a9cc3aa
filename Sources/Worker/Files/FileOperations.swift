package import ClusterModel
internal import Glibc
package import LLB
package import Snapshots

/// Runs file ops (LLB): copies, new files and directories, removals, links.
package final class FileOperations: Sendable {
    private let snapshots: SnapshotStore

    package init(snapshots: SnapshotStore) { self.snapshots = snapshots }

    /// Runs the op's actions in order and commits one layer per output: results by output index, nil where there is none.
    package func execute(
        _ op: Pb_FileOp, inputs: [LayerChain], context: OperationContext
    ) async throws -> [LayerChain?] {
        try Task.checkCancellation()
        let snapshots = snapshots
        let results = try await BlockingThread.run {
            let run = try FileOperationRun(op, inputs: inputs, snapshots: snapshots)
            defer { run.release() }
            return try run.execute()
        }
        try Task.checkCancellation()
        return results
    }
}
