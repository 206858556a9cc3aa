internal import ClusterModel
internal import Gossip

/// Memory and traffic have bounds: the table is as large as the cluster ever was, everything else a multiple of it.
package struct QueueChecker: Sendable {
    /// For tests of the checker: all bounds are so many times as high.
    package var scale = 1.0
    private var sent: [Int] = []

    /// What a node's budget allows in one period and a burst, and what its probes may take beside it.
    private static let probeBytesPerMember = 1_200

    package init() {}

    /// What is over its bound, in words; called once each period.
    package mutating func violations(_ cluster: ClusterSimulation) -> [String] {
        var found: [String] = []
        let identities = Set(cluster.nodes.map(\.identity)).count
        for (index, node) in cluster.nodes.enumerated() {
            let kept = node.membership.footprint
            func check(_ what: String, _ count: Int, _ limit: Int) {
                guard Double(count) > Double(limit) * scale else { return }
                found.append("bound 6: n\(index) keeps \(count) \(what), \(limit) are allowed")
            }
            check("members", kept.members, identities)
            check("suspicions", kept.suspicions, kept.members)
            check("probes", kept.probes, 2 * kept.members + 8)
            check("probes for others", kept.relayedProbes, Membership.relayedProbesMax)
            check("exchanges", kept.exchanges, 16)
            check("news of members", kept.membershipNews, 2 * kept.members)
            check("news of load", kept.loadNews, kept.members)
            check("user records", kept.userNews, Membership.userNewsMax)
            let before = sent.indices.contains(index) ? sent[index] : 0
            let bytes = node.bytesSent - before
            let budget = 3 * cluster.configuration.bytesPerSecond + Self.probeBytesPerMember * kept.members
            if Double(bytes) > Double(budget) * scale {
                found.append("bound 6: n\(index) sent \(bytes) bytes in one period, \(budget) are allowed")
            }
        }
        sent = cluster.nodes.map(\.bytesSent)
        return found
    }
}
