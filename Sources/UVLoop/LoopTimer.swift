internal import CUV

/// A timer of the loop; stops and closes when its owner lets go of it.
package struct LoopTimer: ~Copyable {
    private let box: TimerBox

    /// Makes a stopped timer; on the loop's thread.
    package init(loop: LoopThread, fire: @escaping @Sendable () -> Void) throws(UVError) {
        box = try TimerBox.make(loop: loop, fire: fire)
    }

    deinit { box.release() }

    /// Fires after `delay`, and then each `interval` unless that is zero.
    ///
    /// Replaces what was set before.
    package func start(after delay: Duration, every interval: Duration = .zero) throws(UVError) {
        guard let timer = box.pointer(as: uv_timer_t.self) else { throw .stopping("uv_timer_start") }
        let status = uv_timer_start(
            timer, { HandleBox.of($0?.pointee.data, as: TimerBox.self)?.fire?() }, Self.milliseconds(delay),
            Self.milliseconds(interval))
        try UVError.check(status, "uv_timer_start")
    }

    /// Stops without closing.
    package func stop() {
        guard let timer = box.pointer(as: uv_timer_t.self) else { return }
        uv_timer_stop(timer)
    }

    private static func milliseconds(_ duration: Duration) -> UInt64 {
        let (seconds, attoseconds) = duration.components
        guard seconds >= 0 else { return 0 }
        return UInt64(seconds) * 1000 + UInt64(max(0, attoseconds) / 1_000_000_000_000_000)
    }
}

private final class TimerBox: HandleBox, @unchecked Sendable {
    private(set) var fire: (@Sendable () -> Void)?

    static func make(loop: LoopThread, fire: @escaping @Sendable () -> Void) throws(UVError) -> TimerBox {
        let box = TimerBox(loop: loop, kind: UV_TIMER)
        box.fire = fire
        try box.open(as: uv_timer_t.self, call: "uv_timer_init") { uv_timer_init($0, $1) }
        return box
    }

    override func closed() { fire = nil }
}
