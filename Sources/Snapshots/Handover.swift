internal import Synchronization

/// Passes values from one task to another and keeps a few between them, so that both can work.
final class Handover<Value: Sendable>: Sendable {
    private struct State {
        var values: [Value] = []
        var isEnded = false
        var taker: CheckedContinuation<Void, Never>?
        var giver: CheckedContinuation<Void, Never>?
    }

    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int) { self.capacity = capacity }

    /// Waits for room and leaves the value; false when the other side has ended.
    func give(_ value: Value) async -> Bool {
        while true {
            let done = change { state -> Bool? in
                if state.isEnded { return false }
                guard state.values.count < capacity else { return nil }
                state.values.append(value)
                return true
            }
            if let done { return done }
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    if state.isEnded || state.values.count < capacity { return true }
                    state.giver = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        }
    }

    /// The next value; nil at the end.
    func take() async -> Value? {
        while true {
            let next = change { state -> Value?? in
                if !state.values.isEmpty { return state.values.removeFirst() }
                return state.isEnded ? .some(nil) : nil
            }
            if let next { return next }
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    if state.isEnded || !state.values.isEmpty { return true }
                    state.taker = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        }
    }

    /// No values follow, or none is taken any more; those that are here can still be taken.
    func end() { change { $0.isEnded = true } }

    @discardableResult
    private func change<Result>(_ body: (inout State) -> sending Result) -> Result {
        let (result, waiting) = state.withLock { state in
            let result = body(&state)
            let waiting = [state.taker, state.giver].compactMap { $0 }
            (state.taker, state.giver) = (nil, nil)
            return (result, waiting)
        }
        for continuation in waiting { continuation.resume() }
        return result
    }
}
