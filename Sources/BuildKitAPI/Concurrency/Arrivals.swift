internal import PeerRuntime
internal import Synchronization

/// Named things that come and go, and that may be asked for before they have come.
final class Arrivals<Value: AnyObject & Sendable>: Sendable {
    private struct State {
        var present: [String: Value] = [:]
        var awaited: [String: (promise: Promise<Value>, waiters: Int)] = [:]
    }

    private let state = Mutex(State())

    /// Adds a value and wakes those who wait for it; false when the name is taken by one that must not be replaced.
    func insert(_ value: Value, named name: String, replacing mayReplace: (Value) -> Bool = { _ in false }) -> Bool {
        let (inserted, promise) = state.withLock { state -> (Bool, Promise<Value>?) in
            if let known = state.present[name], !mayReplace(known) { return (false, nil) }
            state.present[name] = value
            return (true, state.awaited.removeValue(forKey: name)?.promise)
        }
        promise?.fulfil(value)
        return inserted
    }

    /// Removes the value, unless its name has been taken by another.
    func remove(_ value: Value, named name: String) {
        state.withLock { state in
            if state.present[name] === value { state.present[name] = nil }
        }
    }

    /// The value of that name; nil when it did not come in time.
    func value(named name: String, within patience: Duration) async throws -> Value? {
        let (present, promise) = state.withLock { state -> (Value?, Promise<Value>) in
            if let value = state.present[name] { return (value, Promise()) }
            var entry = state.awaited[name] ?? (Promise(), 0)
            entry.waiters += 1
            state.awaited[name] = entry
            return (nil, entry.promise)
        }
        if let present { return present }
        defer { stopWaiting(for: name, promise) }
        return try await withTimeLimit(patience) { try await promise.value }
    }

    private func stopWaiting(for name: String, _ promise: Promise<Value>) {
        state.withLock { state in
            guard var entry = state.awaited[name], entry.promise === promise else { return }
            entry.waiters -= 1
            state.awaited[name] = entry.waiters == 0 ? nil : entry
        }
    }
}
