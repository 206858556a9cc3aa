internal import ClusterModel

/// A node's monotonic clock: it may run faster or slower than the simulation's time.
package struct SimulatedClock: Hashable, Sendable {
    private var origin = MonotonicInstant.zero
    private var shown = MonotonicInstant.zero
    /// Seconds that it shows in a second of simulated time.
    package private(set) var rate = 1.0

    /// Goes on at another rate from what it shows at `now`.
    mutating func setRate(_ rate: Double, at now: MonotonicInstant) {
        shown = self[now]
        origin = now
        self.rate = rate
    }

    /// What it shows at a simulated instant.
    subscript(now: MonotonicInstant) -> MonotonicInstant {
        let passed = (now - origin).nanoseconds
        return shown + .nanoseconds(rate == 1 ? passed : Int64((Double(passed) * rate).rounded()))
    }

    /// The simulated instant at which it shows `instant`.
    func instant(showing instant: MonotonicInstant) -> MonotonicInstant {
        let passed = (instant - shown).nanoseconds
        return origin + .nanoseconds(rate == 1 ? passed : Int64((Double(passed) / rate).rounded(.up)))
    }
}
