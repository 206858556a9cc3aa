internal import Synchronization

/// A bounded queue between one task that sends and one that receives; a sender waits while it is full.
final class Handoff<Element: Sendable>: Sendable {
    private struct State {
        var buffer: [Element] = []
        var end: Result<Void, any Error>?
        var receiver: CheckedContinuation<Void, Never>?
        var sender: CheckedContinuation<Void, Never>?
    }

    private let capacity: Int
    private let state = Mutex(State())

    /// - Parameter capacity: How many elements may wait; at least 1.
    init(capacity: Int) {
        precondition(capacity > 0, "a handoff of capacity \(capacity) passes nothing on")
        self.capacity = capacity
    }

    /// Adds an element, after waiting for room.
    ///
    /// Elements sent after the end are dropped.
    func send(_ element: Element) async throws {
        while true {
            try Task.checkCancellation()
            let (sent, receiver) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
                guard state.end == nil else { return (true, nil) }
                guard state.buffer.count < capacity else { return (false, nil) }
                state.buffer.append(element)
                return (true, state.receiver.take())
            }
            receiver?.resume()
            if sent { return }
            await wait(in: \.sender) { $0.end == nil && $0.buffer.count >= self.capacity }
        }
    }

    /// Says that nothing more comes, with the error that `next` throws once the buffer is empty.
    func finish(throwing error: (any Error)? = nil) {
        let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>?] in
            if state.end == nil { state.end = error.map { .failure($0) } ?? .success(()) }
            return [state.receiver.take(), state.sender.take()]
        }
        for waiter in waiters { waiter?.resume() }
    }

    /// The next element; nil at the end.
    func next() async throws -> Element? {
        try await take { buffer in buffer.removeFirst() }
    }

    /// All elements that wait, at least one; nil at the end.
    func takeAll() async throws -> [Element]? {
        try await take { buffer in
            defer { buffer.removeAll() }
            return buffer
        }
    }

    private func take<Taken>(_ body: (inout [Element]) -> Taken) async throws -> Taken? {
        while true {
            try Task.checkCancellation()
            let (taken, end, sender) = state.withLock {
                state -> (Taken?, Result<Void, any Error>?, CheckedContinuation<Void, Never>?) in
                guard !state.buffer.isEmpty else { return (nil, state.end, nil) }
                return (body(&state.buffer), nil, state.sender.take())
            }
            sender?.resume()
            if let taken { return taken }
            if let end {
                try end.get()
                return nil
            }
            await wait(in: \.receiver) { $0.end == nil && $0.buffer.isEmpty }
        }
    }

    /// Suspends while `mustWait` holds, until the other side or a cancellation wakes it.
    private func wait(
        in slot: any WritableKeyPath<State, CheckedContinuation<Void, Never>?> & Sendable,
        while mustWait: @Sendable (State) -> Bool
    ) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waits = state.withLock { state in
                    guard mustWait(state), !Task.isCancelled else { return false }
                    precondition(state[keyPath: slot] == nil, "a handoff has one sender and one receiver")
                    state[keyPath: slot] = continuation
                    return true
                }
                if !waits { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0[keyPath: slot].take() }?.resume()
        }
    }
}

extension Handoff: AsyncSequence {
    struct AsyncIterator: AsyncIteratorProtocol {
        let handoff: Handoff

        mutating func next() async throws -> Element? { try await handoff.next() }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(handoff: self) }
}
