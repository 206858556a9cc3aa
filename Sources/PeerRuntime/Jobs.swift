internal import Synchronization

/// The tasks of a node, each under a key: the one place that starts unstructured tasks.
///
/// Work of a solver has no parent to wait for it: it starts with an effect and ends with an event, and may be cancelled
/// by a later effect. A key that is started again replaces nothing: the older task goes on under no name.
final class Jobs: Sendable {
    private struct State {
        var named: [String: (number: UInt64, task: Task<Void, Never>)] = [:]
        var all: [UInt64: Task<Void, Never>] = [:]
        var count: UInt64 = 0
        var isStopped = false
    }

    private let state = Mutex(State())

    /// Starts `work`; after `stop` it does nothing.
    func start(_ name: String? = nil, _ work: @escaping @Sendable () async -> Void) {
        state.withLock { state in
            guard !state.isStopped else { return }
            state.count += 1
            let number = state.count
            let task = Task { [weak self] in
                await work()
                self?.ended(number, name)
            }
            state.all[number] = task
            if let name { state.named[name] = (number, task) }
        }
    }

    private func ended(_ number: UInt64, _ name: String?) {
        state.withLock { state in
            state.all[number] = nil
            if let name, state.named[name]?.number == number { state.named[name] = nil }
        }
    }

    func cancel(_ name: String) {
        // Outside the lock: the task's cancel handlers run in this call, and may come back here.
        state.withLock { $0.named[name]?.task }?.cancel()
    }

    /// Cancels everything and waits until it has ended.
    func stop() async {
        let tasks = state.withLock { state in
            state.isStopped = true
            return Array(state.all.values)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }
}
