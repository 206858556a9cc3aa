internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import Logging
internal import PeerRuntime
internal import SwiftProtobuf

/// `moby.buildkit.v1.Control`: builds, their sessions and status, and what the node is and keeps.
struct ControlService: Moby_Buildkit_V1_Control.ServiceProtocol {
    let backend: any BuildBackend
    let builds: BuildRegistry
    let sessions: SessionRegistry
    let shutdown: ServerShutdown
    let logger: Logger

    func listWorkers(
        request: ServerRequest<Moby_Buildkit_V1_ListWorkersRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_ListWorkersResponse> {
        let filters = try UsageFilter.parse(request.message.filter)
        let worker = backend.worker
        let matches = filters.matches { key in
            if key == "id" { return worker.id }
            return key.hasPrefix("labels.") ? worker.labels[String(key.dropFirst("labels.".count))] : nil
        }
        return ServerResponse(message: .with { $0.record = matches ? [WorkerMessage.record(worker)] : [] })
    }

    func info(
        request: ServerRequest<Moby_Buildkit_V1_InfoRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_InfoResponse> {
        ServerResponse(message: .with { $0.buildkitVersion = WorkerMessage.version(backend.worker) })
    }

    func diskUsage(
        request: ServerRequest<Moby_Buildkit_V1_DiskUsageRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_DiskUsageResponse> {
        let filters = try UsageFilter.parse(request.message.filter)
        let report = try await BuildFailure.translated { try await backend.diskUsage() }
        let oldest = UsageSelection.now() - request.message.ageLimit
        let records = report.records.filter { record in
            guard request.message.ageLimit == 0 || (record.lastUsed ?? record.created) <= oldest else { return false }
            return filters.matches(record)
        }
        return ServerResponse(message: .with { $0.record = records.map(UsageMessage.record) })
    }

    func prune(
        request: ServerRequest<Moby_Buildkit_V1_PruneRequest>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Buildkit_V1_UsageRecord> {
        let request = request.message
        let filters = try UsageFilter.parse(request.filter)
        return StreamingServerResponse { writer in
            let report = try await BuildFailure.translated { try await backend.diskUsage() }
            let selected = UsageSelection(request, filters: filters).select(from: report, now: UsageSelection.now())
            guard !selected.isEmpty else { return [:] }
            let removed = try await BuildFailure.translated { try await backend.removeUsage(ids: selected) }
            for record in removed { try await writer.write(UsageMessage.record(record)) }
            return [:]
        }
    }

    /// The build history is not kept; clients skip what needs it when they are told so.
    func listenBuildHistory(
        request: ServerRequest<Moby_Buildkit_V1_BuildHistoryRequest>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Buildkit_V1_BuildHistoryEvent> {
        throw Self.noHistory
    }

    func updateBuildHistory(
        request: ServerRequest<Moby_Buildkit_V1_UpdateBuildHistoryRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_UpdateBuildHistoryResponse> {
        throw Self.noHistory
    }

    private static var noHistory: RPCError {
        RPCError(code: .unimplemented, message: "this node keeps no build history")
    }
}
