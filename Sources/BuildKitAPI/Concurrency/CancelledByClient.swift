internal import GRPCCore

/// Runs `operation` as a task that is cancelled when the client cancels its RPC or goes away.
///
/// gRPC tells a handler of that through its context only, never by cancelling the task.
func cancelledByClient<Value: Sendable>(
    _ context: ServerContext, onCancel: @escaping @Sendable () async -> Void = {},
    _ operation: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value.self) { group in
        group.addTask { try await operation() }
        group.addTask {
            try await context.cancellation.cancelled
            await onCancel()
            throw CancellationError()
        }
        defer { group.cancelAll() }
        guard let value = try await group.next() else { throw CancellationError() }
        return value
    }
}
