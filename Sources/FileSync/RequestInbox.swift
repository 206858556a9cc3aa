internal import Synchronization

/// Files that the receiver asked for and the sender has not begun yet, in order of asking.
///
/// Holds at most one request for each announced file, so the other side can't make it grow beyond the list.
final class RequestInbox: Sendable {
    struct Request: Sendable {
        let id: UInt32
        let path: String
    }

    enum Item: Sendable {
        case request(Request)
        /// The receiver has everything.
        case finished
    }

    private struct State {
        var announced: [UInt32: String] = [:]
        var items: [Item] = []
        var head = 0
        var failure: (any Error)?
        var waiter: CheckedContinuation<Void, Never>?

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waiter = nil }
            return waiter
        }

        mutating func popFirst() -> Item? {
            guard head < items.count else { return nil }
            defer { head += 1 }
            if head > 1_024, head * 2 > items.count {
                items.removeFirst(head)
                head = 0
            }
            return items[head]
        }
    }

    private let state = Mutex(State())

    /// Says that `id` may be asked for, once.
    func announce(_ id: UInt32, path: String) {
        state.withLock { $0.announced[id] = path }
    }

    /// Queues a request of the receiver; throws when that file may not be asked for (again).
    func request(_ id: UInt32) throws(FileSyncError) {
        let (isKnown, waiter) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            guard let path = state.announced.removeValue(forKey: id) else { return (false, nil) }
            state.items.append(.request(Request(id: id, path: path)))
            return (true, state.takeWaiter())
        }
        waiter?.resume()
        guard isKnown else { throw .violation("invalid file id \(id)") }
    }

    func finish() {
        let waiter = state.withLock { state in
            state.items.append(.finished)
            return state.takeWaiter()
        }
        waiter?.resume()
    }

    func fail(_ error: any Error) {
        let waiter = state.withLock { state in
            state.failure = state.failure ?? error
            return state.takeWaiter()
        }
        waiter?.resume()
    }

    /// The next item if there is one now.
    func poll() throws -> Item? {
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            return state.popFirst()
        }
    }

    /// The next item, waiting for it; one caller at a time.
    func next() async throws -> Item {
        while true {
            if let item = try poll() { return item }
            try Task.checkCancellation()
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state in
                        if state.head < state.items.count || state.failure != nil || Task.isCancelled { return true }
                        state.waiter = continuation
                        return false
                    }
                    if isReady { continuation.resume() }
                }
            } onCancel: {
                state.withLock { $0.takeWaiter() }?.resume()
            }
        }
    }
}
