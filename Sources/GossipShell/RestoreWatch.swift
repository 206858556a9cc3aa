/// Finds that this machine may have gone back to an earlier state: a virtual machine that a snapshot was restored of.
///
/// Its memory is what it was then, so that this process would seal under counters that it has used. Nothing inside says
/// so, but the wall clock, once it is right again, is ahead of the clock that counts only while the machine runs
/// (clock_gettime(2)). So it is after a suspend, where a gap this long costs nothing: for the others the node was gone.
struct RestoreWatch: Sendable {
    /// A gap that is no time service's step, and longer than it takes until links break and members are given up.
    static let gapMin = Duration.seconds(30)
    /// The clocks are read at most so often.
    static let interval = Duration.seconds(1)

    /// The wall clock minus the clock that counts while the machine runs.
    private var offset: Duration?
    private var readAt: Duration?

    /// By how much the wall clock went ahead since the last reading, when that is a gap; nil otherwise.
    ///
    /// `awake` is how long the machine has run, from any beginning.
    mutating func read(_ wall: @autoclosure () -> Duration, awake: Duration) -> Duration? {
        if let readAt, awake - readAt < Self.interval { return nil }
        readAt = awake
        let known = offset
        let fresh = wall() - awake
        offset = fresh
        guard let known, fresh - known >= Self.gapMin else { return nil }
        return fresh - known
    }
}
