internal import ClusterModel
internal import LLB
internal import OCI
internal import Snapshots
internal import Solver
internal import Worker

/// Carries out one op on inputs that are on this node.
struct Operations: Sendable {
    let steps: StepExecutor
    let files: FileOperations
    let snapshots: SnapshotStore
    let images: ImageSource

    func run(_ execution: Execution, _ observer: Execution.Observer) async throws -> [LayerChain?] {
        let context = OperationContext(
            session: execution.session, entitlements: execution.entitlements, buildID: execution.build,
            log: observer.log, progress: observer.progress)
        let inputs = execution.inputs.map(\.chain)
        let operation = execution.operation
        switch operation.op {
        case .exec(let exec):
            return try await steps.execute(
                exec, platform: operation.hasPlatform ? operation.platform : nil, resources: execution.resources,
                inputs: inputs, context: context)
        case .file(let file): return try await files.execute(file, inputs: inputs, context: context)
        case .merge(let merge): return [try await MergeOperation.execute(merge, inputs: inputs, snapshots: snapshots)]
        case .diff(let diff): return [try await DiffOperation.execute(diff, inputs: inputs, snapshots: snapshots)]
        case .source(let source): return [try await image(source, operation, context)]
        case .build, .passthrough, nil:
            throw OperationError.unsupported("the op \"\(execution.name)\" is of a kind that nodes do not run")
        }
    }

    private func image(
        _ source: Pb_SourceOp, _ operation: Pb_Op, _ context: OperationContext
    ) async throws -> LayerChain {
        let prefix = "docker-image://"
        guard source.identifier.hasPrefix(prefix) else {
            throw OperationError.unsupported("source \"\(source.identifier)\" is read at the home node only")
        }
        let platform =
            operation.hasPlatform && !operation.platform.architecture.isEmpty
            ? Platform(
                os: operation.platform.os, architecture: operation.platform.architecture,
                variant: operation.platform.variant.isEmpty ? nil : operation.platform.variant) : .host
        return try await images.fetch(
            try Reference(parsing: String(source.identifier.dropFirst(prefix.count))), platform: platform,
            attributes: try ImageAttributes(attributes: source.attrs), credentials: SessionCredentials(context.session),
            progress: context.progress)
    }
}
