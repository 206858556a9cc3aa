internal import ClusterModel

/// Compares the wall clock with the monotonic one: finds that it was set, and follows it as it drifts.
struct WallClockWatch: Sendable {
    /// The wall clock may differ so much from what it was without a word to the protocol: a hundredth of the usual
    /// period moves no probe to another period.
    static let tolerance = Duration.milliseconds(10)
    /// A step that no time service makes by slewing.
    static let jump = Duration.seconds(1)
    /// The clock is read at most so often: a jump is harmless, noticing it is no hurry.
    static let interval = Duration.seconds(1)

    /// The wall clock minus the monotonic one, and by how much it was set.
    struct Change: Hashable, Sendable {
        var offset: Duration
        var jump: Duration?
    }

    private(set) var jumps: UInt64 = 0
    private var offset: Duration?
    private var readAt: MonotonicInstant?

    /// What there is to say of the wall clock; nil when there is nothing new.
    mutating func read(_ wall: @autoclosure () -> Duration, at now: MonotonicInstant) -> Change? {
        if let readAt, now - readAt < Self.interval { return nil }
        readAt = now
        let fresh = wall() - .nanoseconds(now.nanoseconds)
        guard let known = offset else {
            offset = fresh
            return Change(offset: fresh)
        }
        let step = fresh - known
        guard step >= Self.tolerance || step <= .zero - Self.tolerance else { return nil }
        offset = fresh
        guard step >= Self.jump || step <= .zero - Self.jump else { return Change(offset: fresh) }
        jumps += 1
        return Change(offset: fresh, jump: step)
    }
}
