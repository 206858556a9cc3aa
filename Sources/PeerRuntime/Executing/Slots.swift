internal import Synchronization

/// The right to run steps on this node, a bounded number at a time.
///
/// Work that a peer sent goes before local work: finishing beats starting. Within a class it is first come, first served.
actor Slots {
    enum Priority: Int, Sendable {
        case peer = 0
        case local = 1
    }

    private struct Waiter {
        var number: UInt64
        var priority: Priority
        var resume: CheckedContinuation<Bool, Never>
    }

    let count: Int
    private var waiters: [Waiter] = []
    private var next: UInt64 = 0
    private let load = Mutex((running: 0, queued: 0))

    init(count: Int) { self.count = count }

    /// Steps that run and that wait, without waiting for the actor.
    nonisolated var current: (running: Int, queued: Int) { load.withLock { $0 } }

    /// Runs `body` in a slot; throws `CancellationError` when the task is cancelled while it waits.
    nonisolated func withSlot<T: Sendable>(
        _ priority: Priority, _ body: @Sendable () async throws -> T
    ) async throws -> T {
        try await acquire(priority)
        do {
            let value = try await body()
            await release()
            return value
        } catch {
            await release()
            throw error
        }
    }

    private func acquire(_ priority: Priority) async throws {
        try Task.checkCancellation()
        guard !takeFree() else { return }
        next += 1
        let number = next
        // Between here and the place in line nothing else runs on this actor: a cancellation always finds the waiter.
        let isGranted = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                enqueue(Waiter(number: number, priority: priority, resume: continuation))
            }
        } onCancel: {
            Task { await self.cancel(number) }
        }
        guard isGranted else { throw CancellationError() }
    }

    /// Takes a free slot; false when all are taken or somebody waits already.
    private func takeFree() -> Bool {
        guard waiters.isEmpty else { return false }
        return load.withLock { load in
            guard load.running < count else { return false }
            load.running += 1
            return true
        }
    }

    private func enqueue(_ waiter: Waiter) {
        let place = waiters.firstIndex { $0.priority.rawValue > waiter.priority.rawValue } ?? waiters.endIndex
        waiters.insert(waiter, at: place)
        load.withLock { $0.queued += 1 }
    }

    /// Takes a waiter out of line.
    ///
    /// One that was granted its slot meanwhile keeps it until its body ends.
    private func cancel(_ number: UInt64) {
        guard let index = waiters.firstIndex(where: { $0.number == number }) else { return }
        let waiter = waiters.remove(at: index)
        load.withLock { $0.queued -= 1 }
        waiter.resume.resume(returning: false)
    }

    private func release() {
        guard !waiters.isEmpty else {
            load.withLock { $0.running -= 1 }
            return
        }
        let waiter = waiters.removeFirst()
        load.withLock { $0.queued -= 1 }
        waiter.resume.resume(returning: true)
    }
}
