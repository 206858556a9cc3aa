/// How far this node trusts itself: 0 is well, each point stretches its waits by one (Lifeguard §IV-A).
struct LocalHealth: Hashable, Sendable {
    static let scoreMax = 7
    private(set) var score = 0

    /// Its waits are to be multiplied by this.
    var multiplier: Int { score + 1 }

    mutating func probeSucceeded() { score = max(0, score - 1) }
    /// A probe failed and no relay said so much as "no": perhaps it is this node that is cut off or slow.
    mutating func probeFailedInSilence() { score = min(Self.scoreMax, score + 1) }
    mutating func wasAccused() { score = min(Self.scoreMax, score + 1) }
    mutating func wasLate() { score = min(Self.scoreMax, score + 1) }
}
