/// A key that a node holds, and what it is worth to others.
package struct MapEntry: Hashable, Sendable {
    package var key: CacheKey
    /// Seconds that making the result took.
    package var cost: Double
    /// Unix time in seconds.
    package var lastUsed: Int64

    package init(key: CacheKey, cost: Double, lastUsed: Int64) {
        self.key = key
        self.cost = cost
        self.lastUsed = lastUsed
    }

    /// Seconds after which a result is worth half of what it was.
    static let halfLife = 86_400.0
    /// Results that took no time are still worth a round trip.
    static let costMin = 0.01
    static let costMax = 1e9

    /// log2 of cost × 2^(−age / half-life), up to a term that is equal for all entries: it does not change with time.
    var rank: Double {
        let cost = cost.isFinite ? min(max(cost, Self.costMin), Self.costMax) : Self.costMin
        return Logarithms.binary(cost) + Double(lastUsed) / Self.halfLife
    }
}
