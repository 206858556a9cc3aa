internal import Glibc
internal import Synchronization

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
            let thread = start { continuation.resume(with: Result(catching: body)) }
            if let thread { pthread_detach(thread) }
        }
    }

    /// Starts `body` on another thread, for what this one need not wait for yet.
    static func begin<Value: Sendable>(_ body: @escaping @Sendable () -> Value) -> Pending<Value> {
        let pending = Pending<Value>()
        pending.thread.withLock { $0 = start { pending.value.withLock { $0 = body() } } }
        return pending
    }

    /// What a thread is making.
    final class Pending<Value: Sendable>: Sendable {
        fileprivate let value = Mutex<Value?>(nil)
        /// Nil once it is over.
        fileprivate let thread = Mutex<pthread_t?>(nil)

        fileprivate init() {}

        /// Blocks until it is made.
        func wait() -> Value {
            thread.withLock { thread in
                if let running = thread { pthread_join(running, nil) }
                thread = nil
            }
            guard let made = value.withLock(\.self) else { preconditionFailure("the thread ended without a value") }
            return made
        }
    }

    /// Nil when no thread is to be had: `body` has run on this one then, slower for the others, but still right.
    private static func start(_ body: @escaping () -> Void) -> pthread_t? {
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
            job.takeRetainedValue().body()
            return nil
        }
        return thread
    }
}
