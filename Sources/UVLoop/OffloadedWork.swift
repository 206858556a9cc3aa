internal import CUV

/// One piece of work for libuv's thread pool: lives until it is done.
// @unchecked: made on the loop's thread, then touched by the pool's thread, then by the loop's again; libuv orders them.
final class OffloadedWork: @unchecked Sendable {
    private let pointer = UnsafeMutablePointer<uv_work_t>.allocate(capacity: 1)
    private let work: @Sendable () -> Void
    private let done: @Sendable () -> Void

    init(work: @escaping @Sendable () -> Void, done: @escaping @Sendable () -> Void) {
        self.work = work
        self.done = done
    }

    deinit { pointer.deallocate() }

    /// Hands it to the pool; false when that failed, and nothing will be called.
    func queue(on loop: UnsafeMutablePointer<uv_loop_t>) -> Bool {
        pointer.pointee.data = Unmanaged.passRetained(self).toOpaque()
        let status = uv_queue_work(
            loop, pointer,
            { request in
                guard let data = request?.pointee.data else { return }
                Unmanaged<OffloadedWork>.fromOpaque(data).takeUnretainedValue().work()
            },
            { request, _ in
                guard let data = request?.pointee.data else { return }
                Unmanaged<OffloadedWork>.fromOpaque(data).takeRetainedValue().done()
            })
        guard status != 0 else { return true }
        Unmanaged.passUnretained(self).release()
        return false
    }
}
