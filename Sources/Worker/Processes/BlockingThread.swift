internal import Glibc

/// Runs blocking work on a thread of its own, so that it holds up none of the few threads that run tasks.
///
/// A thread per operation is enough: a node runs as many operations at once as it has slots.
enum BlockingThread {
    private final class Job {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }

    /// Runs `body` and returns what it returns, or throws what it throws.
    ///
    /// Cancellation does not interrupt it.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            start { continuation.resume(with: Result(catching: body)) }
        }
    }

    private static func start(_ body: @escaping () -> Void) {
        let job = Unmanaged.passRetained(Job(body))
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            }, job.toOpaque())
        guard code == 0 else {
            // No thread to be had: slower for the others, but still right.
            job.takeRetainedValue().body()
            return
        }
        pthread_detach(thread)
    }
}
