internal import CUV
internal import Glibc
internal import Synchronization

/// A thread that runs one libuv loop and serves as the executor of actors that live beside it.
///
/// A libuv callback on this thread is already inside such an actor (`assumeIsolated`). The thread runs until `shutDown()`.
// @unchecked: `loop` and `readBuffer` are used on the thread only; the rest is behind `state` or atomic.
package final class LoopThread: SerialExecutor, @unchecked Sendable {
    /// Bytes that one read takes at most; one buffer serves all sockets, as libuv reads and calls back in one go.
    static let readBytesMax = 256 << 10

    private enum Work {
        case job(UnownedJob)
        case body(@Sendable () -> Void)
    }

    private enum Phase {
        case running
        case stopping
        case ended
    }

    private struct State {
        var work: [Work] = []
        var phase = Phase.running
        var lateThreadRuns = false
        var ended: [CheckedContinuation<Void, Never>] = []
    }

    private let loop: UnsafeMutablePointer<uv_loop_t>
    private let wakeUp: UnsafeMutablePointer<uv_async_t>
    private let thread = UnsafeMutablePointer<uv_thread_t>.allocate(capacity: 1)
    private let state = LoopLock(State())
    /// The thread that runs jobs now; 0 when none does.
    private let runner = Atomic<UInt>(0)
    private let joined = Atomic<Bool>(false)
    private let openHandles = Atomic<Int>(0)
    let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: readBytesMax, alignment: 64)

    /// Starts the thread.
    package init() throws(UVError) {
        loop = .allocate(capacity: 1)
        wakeUp = .allocate(capacity: 1)
        thread.initialize(to: 0)
        try UVError.check(uv_loop_init(loop), "uv_loop_init")
        let status = uv_async_init(loop, wakeUp) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<LoopThread>.fromOpaque(data).takeUnretainedValue().drain()
        }
        try UVError.check(status, "uv_async_init")
        wakeUp.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        let context = Unmanaged.passRetained(self)
        let started = uv_thread_create(
            thread,
            { context in
                guard let context else { return }
                Unmanaged<LoopThread>.fromOpaque(context).takeRetainedValue().run()
            }, context.toOpaque())
        guard started == 0 else {
            context.release()
            throw UVError(call: "uv_thread_create", code: started)
        }
    }

    deinit {
        if thread.pointee != 0, !joined.load(ordering: .acquiring) { pthread_detach(thread.pointee) }
        loop.deallocate()
        wakeUp.deallocate()
        thread.deallocate()
        readBuffer.deallocate()
    }

    var pointer: UnsafeMutablePointer<uv_loop_t> { loop }

    /// Whether the caller runs on the loop's thread.
    package var isCurrent: Bool { runner.load(ordering: .acquiring) == UInt(uv_thread_self()) }

    /// Handles that are open: what a leak test counts.
    package var handleCount: Int { openHandles.load(ordering: .relaxed) }

    var isStopping: Bool { state.withLock { $0.phase != .running } }

    func handleOpened() { openHandles.add(1, ordering: .relaxed) }
    func handleClosed() { openHandles.subtract(1, ordering: .relaxed) }

    // MARK: Executor

    package func enqueue(_ job: consuming ExecutorJob) { submit(.job(UnownedJob(job))) }

    package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

    package func isIsolatingCurrentContext() -> Bool? { isCurrent }

    package func checkIsolated() { precondition(isCurrent, "not on the libuv loop's thread") }

    /// Runs `body` on the loop's thread, in order with everything else that was submitted.
    package func perform(_ body: @escaping @Sendable () -> Void) { submit(.body(body)) }

    private func submit(_ work: Work) {
        let needsLateThread = state.withLock { state -> Bool in
            state.work.append(work)
            guard state.phase == .ended else {
                uv_async_send(wakeUp)
                return false
            }
            defer { state.lateThreadRuns = true }
            return !state.lateThreadRuns
        }
        if needsLateThread { runLate() }
    }

    private func drain() {
        let batch = state.withLock { state in
            defer { state.work = [] }
            return state.work
        }
        for work in batch { perform(work) }
    }

    private func perform(_ work: Work) {
        switch work {
        case .job(let job): job.runSynchronously(on: asUnownedSerialExecutor())
        case .body(let body): body()
        }
    }

    /// Runs `work` on one of libuv's pool threads, and then `done` on the loop's thread.
    ///
    /// To be called on the loop's thread. The loop does not end before `done` has run. What is asked for while it
    /// stops is done here and at once.
    package func offload(_ work: @escaping @Sendable () -> Void, then done: @escaping @Sendable () -> Void) {
        precondition(isCurrent, "uv_queue_work outside the loop's thread")
        let request = OffloadedWork(work: work, done: done)
        guard !isStopping, request.queue(on: loop) else {
            work()
            done()
            return
        }
    }

    // MARK: Life

    private func run() {
        // Signals are for the main thread; and a write to a closed socket must give EPIPE, not SIGPIPE.
        var all = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, nil)
        runner.store(UInt(uv_thread_self()), ordering: .releasing)
        uv_run(loop, UV_RUN_DEFAULT)
        let waiting = end()
        for continuation in waiting { continuation.resume() }
    }

    /// Runs what came while the last handles closed, then takes no more.
    private func end() -> [CheckedContinuation<Void, Never>] {
        while true {
            drain()
            let finished = state.withLock { state -> Bool in
                guard state.work.isEmpty else { return false }
                // From here on a late thread may run jobs; this one only closes the loop.
                runner.store(0, ordering: .releasing)
                state.phase = .ended
                return true
            }
            if finished { break }
        }
        uv_close(UnsafeMutableRawPointer(wakeUp).assumingMemoryBound(to: uv_handle_t.self), nil)
        uv_run(loop, UV_RUN_DEFAULT)
        let status = uv_loop_close(loop)
        precondition(status == 0, "uv_loop_close: \(status): a handle was opened while the loop stopped")
        return state.withLock { state in
            defer { state.ended = [] }
            return state.ended
        }
    }

    /// Closes every handle, ends the loop and joins its thread.
    ///
    /// Later calls wait for the first.
    ///
    /// Must not be awaited from a job that the loop itself has to finish synchronously.
    package func shutDown() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state -> Bool in
                if state.phase == .ended { return true }
                state.ended.append(continuation)
                return false
            }
            if isOver {
                continuation.resume()
            } else {
                perform { self.closeAll() }
            }
        }
        guard !joined.exchange(true, ordering: .acquiringAndReleasing) else { return }
        uv_thread_join(thread)
    }

    private func closeAll() {
        let isFirst = state.withLock { state -> Bool in
            defer { if state.phase == .running { state.phase = .stopping } }
            return state.phase == .running
        }
        guard isFirst else { return }
        uv_walk(
            loop,
            { handle, _ in
                guard let handle else { return }
                HandleBox.of(handle.pointee.type == UV_ASYNC ? nil : handle.pointee.data, as: HandleBox.self)?.close()
            }, nil)
        uv_unref(UnsafeMutableRawPointer(wakeUp).assumingMemoryBound(to: uv_handle_t.self))
    }

    /// After the end an actor may still have jobs, for example to return from its own `stop()`: a thread of their own,
    /// one at a time, runs them.
    private func runLate() {
        var late = uv_thread_t()
        let status = uv_thread_create(
            &late,
            { context in
                guard let context else { return }
                Unmanaged<LoopThread>.fromOpaque(context).takeRetainedValue().drainLate()
            }, Unmanaged.passRetained(self).toOpaque())
        precondition(status == 0, "uv_thread_create: \(status)")
        pthread_detach(late)
    }

    private func drainLate() {
        runner.store(UInt(uv_thread_self()), ordering: .releasing)
        while true {
            drain()
            let isIdle = state.withLock { state -> Bool in
                guard state.work.isEmpty else { return false }
                runner.store(0, ordering: .releasing)
                state.lateThreadRuns = false
                return true
            }
            if isIdle { return }
        }
    }
}
