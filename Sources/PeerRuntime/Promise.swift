internal import Synchronization

/// A value that is set once and that any number of tasks wait for.
package final class Promise<Value: Sendable>: Sendable {
    private enum State {
        case pending(nextID: UInt64, waiters: [UInt64: CheckedContinuation<Value, any Error>])
        case settled(Result<Value, any Error>)
    }

    private let state = Mutex(State.pending(nextID: 0, waiters: [:]))

    package init() {}

    /// Sets the value; false when it was settled before, which then stands.
    @discardableResult
    package func fulfil(_ value: Value) -> Bool { settle(.success(value)) }

    /// Makes every wait fail; false when it was settled before.
    @discardableResult
    package func fail(_ error: any Error) -> Bool { settle(.failure(error)) }

    /// What it was settled with; nil while it is pending.
    package var outcome: Result<Value, any Error>? {
        state.withLock { state in
            guard case .settled(let result) = state else { return nil }
            return result
        }
    }

    /// Waits for the value.
    ///
    /// Throws what the promise failed with, or `CancellationError`.
    package var value: Value {
        get async throws {
            let id = state.withLock { state -> UInt64 in
                guard case .pending(let id, let waiters) = state else { return 0 }
                state = .pending(nextID: id + 1, waiters: waiters)
                return id
            }
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    enqueue(continuation, id: id)
                }
            } onCancel: {
                let waiter = state.withLock { state -> CheckedContinuation<Value, any Error>? in
                    guard case .pending(let next, var waiters) = state else { return nil }
                    let waiter = waiters.removeValue(forKey: id)
                    state = .pending(nextID: next, waiters: waiters)
                    return waiter
                }
                waiter?.resume(throwing: CancellationError())
            }
        }
    }

    private func enqueue(_ continuation: CheckedContinuation<Value, any Error>, id: UInt64) {
        let settled = state.withLock { state -> Result<Value, any Error>? in
            switch state {
            case .settled(let result): return result
            case .pending(let next, var waiters):
                // The cancel handler may have run before this waiter was known.
                guard !Task.isCancelled else { return .failure(CancellationError()) }
                waiters[id] = continuation
                state = .pending(nextID: next, waiters: waiters)
                return nil
            }
        }
        if let settled { continuation.resume(with: settled) }
    }

    private func settle(_ result: Result<Value, any Error>) -> Bool {
        let waiters = state.withLock { state -> [CheckedContinuation<Value, any Error>]? in
            guard case .pending(_, let waiters) = state else { return nil }
            state = .settled(result)
            return Array(waiters.values)
        }
        guard let waiters else { return false }
        for waiter in waiters { waiter.resume(with: result) }
        return true
    }
}
