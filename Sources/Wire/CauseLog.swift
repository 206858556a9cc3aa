/// One log line per cause and minute, however often it happens.
package struct CauseLog<Cause: Hashable & Sendable>: Sendable {
    package static var interval: Duration { .seconds(60) }
    /// Causes that are told apart; with more, such as addresses that change, all are forgotten and logged anew.
    package static var causesMax: Int { 256 }

    private var causes: [Cause: (loggedAt: ContinuousClock.Instant, silent: UInt64)] = [:]

    package init() {}

    /// How many went unsaid since the last line, when a line is due; counts this one as unsaid otherwise.
    package mutating func due(_ cause: Cause, at now: ContinuousClock.Instant) -> UInt64? {
        guard let last = causes[cause], last.loggedAt.duration(to: now) < Self.interval else {
            let silent = causes[cause]?.silent ?? 0
            if causes.count >= Self.causesMax, causes[cause] == nil { causes = [:] }
            causes[cause] = (now, 0)
            return silent
        }
        causes[cause]?.silent += 1
        return nil
    }
}
