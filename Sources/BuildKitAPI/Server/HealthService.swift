internal import BuildKitProtocol
internal import GRPCCore
internal import SwiftProtobuf

/// `grpc.health.v1.Health`: a node that answers is serving.
struct HealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
    /// Services that may be asked for by name; the empty name is the whole server.
    private static let names: Set<String> = [
        "", "moby.buildkit.v1.Control", "moby.buildkit.v1.frontend.LLBBridge", "peerbuild.v1.Cluster",
    ]

    func check(
        request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthCheckResponse {
        guard Self.names.contains(request.service) else {
            throw RPCError(code: .notFound, message: "unknown service \(request.service)")
        }
        return .with { $0.status = .serving }
    }

    func list(
        request: Grpc_Health_V1_HealthListRequest, context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthListResponse {
        .with { response in
            for name in Self.names { response.statuses[name] = .with { $0.status = .serving } }
        }
    }

    /// Sends the state once and stays open: it does not change before the server stops.
    func watch(
        request: Grpc_Health_V1_HealthCheckRequest, response: RPCWriter<Grpc_Health_V1_HealthCheckResponse>,
        context: ServerContext
    ) async throws {
        try await response.write(
            .with { $0.status = Self.names.contains(request.service) ? .serving : .serviceUnknown })
        try await context.cancellation.cancelled
    }
}
