/// A rate limit: what may pass is saved up while nothing does, to a bound.
struct TokenBucket {
    /// Saved up at most: what passes in this time.
    ///
    /// Longer bursts would fill the switches that the limit spares.
    static let burst = Duration.milliseconds(50)
    /// Less is not worth waking up for.
    static let quantumBytes = 64 << 10

    /// Bytes a second.
    let rate: Int
    private let capacity: Int
    private var tokens: Int
    private var counted: ContinuousClock.Instant

    init(rate: Int, now: ContinuousClock.Instant) {
        precondition(rate > 0, "a rate of \(rate) bytes a second")
        self.rate = rate
        let saved = Int(Double(rate) * Double(Self.burst.components.attoseconds) / 1e18)
        capacity = max(Self.quantumBytes, saved)
        tokens = capacity
        counted = now
    }

    /// Bytes that may pass now; not above zero when it is too early.
    mutating func allowance(at now: ContinuousClock.Instant) -> Int {
        let elapsed = counted.duration(to: now)
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        let earned = Int(min(Double(capacity) * 2, seconds * Double(rate)))
        // What is too short for one token is not forgotten.
        if earned > 0 {
            tokens = min(capacity, tokens + earned)
            counted = now
        }
        return tokens
    }

    /// So much has passed; more than the allowance is paid later.
    mutating func spend(_ bytes: Int) { tokens -= bytes }

    /// From now until a worthwhile piece may pass.
    var pause: Duration {
        let missing = max(0, Self.quantumBytes - tokens)
        return .seconds(Double(missing) / Double(rate))
    }
}
