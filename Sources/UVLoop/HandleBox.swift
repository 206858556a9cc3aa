internal import CUV

/// The memory of one libuv handle, kept until libuv's close callback has run.
///
/// libuv's `data` field holds a reference to the box while the handle is open. Owners close it; the shutdown of the loop
/// closes what is left. Both may come, in any order.
// @unchecked: every member is touched on the loop's thread only; `release()` is the way in from other threads.
class HandleBox: @unchecked Sendable {
    let loop: LoopThread
    private var memory: UnsafeMutableRawPointer?

    init(loop: LoopThread, kind: uv_handle_type) {
        self.loop = loop
        memory = .allocate(byteCount: uv_handle_size(kind), alignment: 16)
    }

    deinit { memory?.deallocate() }

    /// Whether the handle can be used.
    var isOpen: Bool { memory.map { uv_is_closing(Self.handle($0)) == 0 } ?? false }

    /// The handle as `Handle`; nil once closed.
    func pointer<Handle>(as type: Handle.Type) -> UnsafeMutablePointer<Handle>? {
        guard let memory, uv_is_closing(Self.handle(memory)) == 0 else { return nil }
        return memory.assumingMemoryBound(to: type)
    }

    /// Starts the handle's life: `initialize` is the `uv_…_init` call.
    func open<Handle>(
        as type: Handle.Type, call: String,
        _ initialize: (UnsafeMutablePointer<uv_loop_t>, UnsafeMutablePointer<Handle>) -> Int32
    ) throws(UVError) {
        precondition(loop.isCurrent, "\(call) outside the loop's thread")
        guard !loop.isStopping else { throw .stopping(call) }
        guard let memory else { preconditionFailure("\(call) on a closed handle") }
        try UVError.check(initialize(loop.pointer, memory.assumingMemoryBound(to: type)), call)
        Self.handle(memory).pointee.data = Unmanaged.passRetained(self).toOpaque()
        loop.handleOpened()
    }

    /// Closes the handle; the loop's thread only.
    ///
    /// Harmless when closed.
    final func close() {
        guard let memory, uv_is_closing(Self.handle(memory)) == 0, Self.handle(memory).pointee.data != nil else {
            return
        }
        uv_close(Self.handle(memory)) { handle in
            guard let handle, let data = handle.pointee.data else { return }
            let box = Unmanaged<HandleBox>.fromOpaque(data).takeRetainedValue()
            box.memory?.deallocate()
            box.memory = nil
            box.loop.handleClosed()
            box.closed()
        }
    }

    /// Called once the handle is closed: drops callbacks, which may hold their owner.
    func closed() {}

    /// Closes from any thread.
    final func release() {
        if loop.isCurrent {
            close()
        } else {
            loop.perform { self.close() }
        }
    }

    /// The box of a handle in a callback.
    static func of<Box: HandleBox>(_ data: UnsafeMutableRawPointer?, as type: Box.Type) -> Box? {
        guard let data else { return nil }
        return Unmanaged<HandleBox>.fromOpaque(data).takeUnretainedValue() as? Box
    }

    private static func handle(_ memory: UnsafeMutableRawPointer) -> UnsafeMutablePointer<uv_handle_t> {
        memory.assumingMemoryBound(to: uv_handle_t.self)
    }
}
