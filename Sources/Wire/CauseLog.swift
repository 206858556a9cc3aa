/// One log line per cause and minute, however often it happens.
struct CauseLog<Cause: Hashable & Sendable>: Sendable {
    static var interval: Duration { .seconds(60) }

    private var causes: [Cause: (loggedAt: ContinuousClock.Instant, silent: UInt64)] = [:]

    /// How many went unsaid since the last line, when a line is due; counts this one as unsaid otherwise.
    mutating func due(_ cause: Cause, at now: ContinuousClock.Instant) -> UInt64? {
        guard let last = causes[cause], last.loggedAt.duration(to: now) < Self.interval else {
            let silent = causes[cause]?.silent ?? 0
            causes[cause] = (now, 0)
            return silent
        }
        causes[cause]?.silent += 1
        return nil
    }
}
