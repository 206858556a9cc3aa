internal import ClusterModel

/// What the network does to a packet: delay, loss, duplicates, size limits and cuts, all from one seed.
///
/// A corrupted packet fails its seal at the receiver, so corruption is a loss of its own kind.
package struct SimulatedNetwork: Sendable {
    /// How long a packet is under way.
    package enum Delay: Sendable, Hashable {
        /// Evenly spread.
        case even(Duration, Duration)
        /// Evenly spread, but a share of the packets takes up to so many times as long: packets overtake each other.
        case heavyTail(Duration, Duration, share: Double, factor: Double)
    }

    package var delays = Self.delaysAtFirst
    private static let delaysAtFirst = Delay.even(.microseconds(200), .milliseconds(1))
    /// Share of datagrams that vanish, 0...1; streams lose segments and send them again.
    package var loss = 0.0
    /// Share of datagrams that arrive damaged: the seal does not open.
    package var corruption = 0.0
    /// Share of datagrams that arrive twice.
    package var duplication = 0.0
    /// Mean length of a run of losses in packets per link; 1 is independent loss.
    ///
    /// Gilbert's model: a link is good or bad, and loses everything while it is bad.
    package var burstLength = 1.0
    /// UDP payloads above this vanish without a word, as behind a router that drops ICMP; nil: none do.
    package var payloadMax: Int?
    /// Nodes whose datagrams are dropped both ways; streams pass.
    package var datagramBlocked: Set<Int> = []
    /// Datagrams that arrived damaged.
    package private(set) var corrupted = 0
    /// Nodes that reach each other; nodes of different groups do not.
    ///
    /// All are in group 0 at first.
    private var groups: [Int: Int] = [:]
    /// One-way cuts, as sender and receiver.
    private var cuts: Set<Link> = []
    private var badLinks: Set<Link> = []
    private var random: SplitMix64

    private struct Link: Hashable, Sendable {
        var sender: Int
        var receiver: Int
    }

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    package mutating func setGroup(_ group: Int, of node: Int) { groups[node] = group }
    package mutating func heal() {
        groups.removeAll()
        cuts.removeAll()
        badLinks.removeAll()
        datagramBlocked.removeAll()
        payloadMax = nil
    }
    /// As it was at first, except for what goes by chance.
    package mutating func clearFaults() {
        heal()
        loss = 0
        burstLength = 1
        corruption = 0
        duplication = 0
        delays = Self.delaysAtFirst
    }
    package mutating func cut(from sender: Int, to receiver: Int) {
        cuts.insert(Link(sender: sender, receiver: receiver))
    }

    package func connects(_ sender: Int, to receiver: Int) -> Bool {
        (groups.isEmpty || groups[sender, default: 0] == groups[receiver, default: 0])
            && (cuts.isEmpty || !cuts.contains(Link(sender: sender, receiver: receiver)))
    }

    mutating func delay() -> Duration {
        switch delays {
        case .even(let least, let most): between(least, most)
        case .heavyTail(let least, let most, let share, let factor):
            unit() < share ? between(least, most) * (1 + unit() * factor) : between(least, most)
        }
    }

    private mutating func between(_ least: Duration, _ most: Duration) -> Duration {
        least + .nanoseconds(Int64(unit() * Double((most - least).nanoseconds)))
    }

    /// The delays of the copies of one datagram that arrive; none when it is lost.
    mutating func copies(from sender: Int, to receiver: Int, payloadBytes: Int) -> [Duration] {
        guard connects(sender, to: receiver), !isLost(sender, receiver) else { return [] }
        if let payloadMax, payloadBytes > payloadMax { return [] }
        if !datagramBlocked.isEmpty, datagramBlocked.contains(sender) || datagramBlocked.contains(receiver) {
            return []
        }
        if corruption > 0, unit() < corruption {
            corrupted += 1
            return []
        }
        return duplication > 0 && unit() < duplication ? [delay(), delay()] : [delay()]
    }

    private mutating func isLost(_ sender: Int, _ receiver: Int) -> Bool {
        guard loss > 0 else { return false }
        guard burstLength > 1 else { return unit() < loss }
        let link = Link(sender: sender, receiver: receiver)
        // Mean run of bad 1/leave, share of bad enter/(enter + leave).
        let leave = 1 / burstLength
        let enter = leave * loss / max(0.01, 1 - loss)
        if badLinks.contains(link) {
            if unit() < leave { badLinks.remove(link) }
        } else if unit() < enter {
            badLinks.insert(link)
        }
        return badLinks.contains(link)
    }

    /// Time of a connection's first three segments; each lost one costs a timeout of 1 s (RFC 6298).
    mutating func connectDelay() -> Duration { roundTrip(timeout: .seconds(1)) }

    /// Time that one message of a stream takes: each lost segment costs a retransmission timeout of 200 ms.
    mutating func streamDelay() -> Duration {
        var total = delay()
        while loss < 1, unit() < loss { total += .milliseconds(200) }
        return total
    }

    private mutating func roundTrip(timeout: Duration) -> Duration {
        var total = delay() + delay()
        var tries = 0
        while loss > 0, tries < 6, unit() < loss || unit() < loss {
            total += timeout * (1 << tries)
            tries += 1
        }
        return total
    }

    private mutating func unit() -> Double { Double(random.next() >> 11) / Double(1 << 53) }
}
