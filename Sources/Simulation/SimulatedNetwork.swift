internal import ClusterModel

/// What the network does to a packet: delay, loss, duplicates and cuts, all from one seed.
package struct SimulatedNetwork: Sendable {
    /// One-way delay of a packet lies between these.
    package var latencyMin: Duration = .microseconds(200)
    package var latencyMax: Duration = .milliseconds(1)
    /// Share of datagrams that vanish, 0...1; streams lose none but take a try more per loss.
    package var loss = 0.0
    /// Share of datagrams that arrive twice.
    package var duplication = 0.0
    /// Nodes that reach each other; nodes of different groups do not.
    ///
    /// All are in group 0 at first.
    private var groups: [Int: Int] = [:]
    /// One-way cuts, as sender and receiver.
    private var cuts: Set<[Int]> = []
    private var random: SplitMix64

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    package mutating func setGroup(_ group: Int, of node: Int) { groups[node] = group }
    package mutating func heal() {
        groups.removeAll()
        cuts.removeAll()
    }
    package mutating func cut(from sender: Int, to receiver: Int) { cuts.insert([sender, receiver]) }

    func connects(_ sender: Int, to receiver: Int) -> Bool {
        groups[sender, default: 0] == groups[receiver, default: 0] && !cuts.contains([sender, receiver])
    }

    mutating func delay() -> Duration {
        latencyMin + .nanoseconds(Int64(unit() * Double((latencyMax - latencyMin).nanoseconds)))
    }

    /// The delays of the copies of one datagram that arrive; none when it is lost.
    mutating func copies(from sender: Int, to receiver: Int) -> [Duration] {
        guard connects(sender, to: receiver), unit() >= loss else { return [] }
        return unit() < duplication ? [delay(), delay()] : [delay()]
    }

    /// Time that one message of a stream takes: each lost segment costs a retransmission timeout of 200 ms.
    mutating func streamDelay() -> Duration {
        var total = delay()
        while loss < 1, unit() < loss { total += .milliseconds(200) }
        return total
    }

    private mutating func unit() -> Double { Double(random.next() >> 11) / Double(1 << 53) }
}
