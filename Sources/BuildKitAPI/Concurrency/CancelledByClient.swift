internal import GRPCCore
internal import PeerRuntime

/// Runs `operation` as a task that is cancelled when the client cancels its RPC or goes away.
///
/// gRPC tells a handler of that through its context only, never by cancelling the task. It says the same of all calls when
/// the server begins to shut down: those have their grace, so that they can still be answered.
func cancelledByClient<Value: Sendable>(
    _ context: ServerContext, _ shutdown: ServerShutdown, onCancel: @escaping @Sendable () async -> Void = {},
    _ operation: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value.self) { group in
        group.addTask { try await operation() }
        group.addTask {
            try await context.cancellation.cancelled
            // Never settled: the wait ends with the operation, or with the server.
            if shutdown.hasBegun { try await Promise<Void>().value }
            await onCancel()
            throw CancellationError()
        }
        defer { group.cancelAll() }
        guard let value = try await group.next() else { throw CancellationError() }
        return value
    }
}
