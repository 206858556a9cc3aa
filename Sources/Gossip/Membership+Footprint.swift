/// What a membership keeps in memory, in things of each kind: every number has a bound.
package struct GossipFootprint: Hashable, Sendable {
    package var members = 0
    package var suspicions = 0
    package var probes = 0
    package var relayedProbes = 0
    package var exchanges = 0
    /// Records on their way, by class.
    package var membershipNews = 0
    package var loadNews = 0
    package var userNews = 0
}

extension Membership {
    package var footprint: GossipFootprint {
        GossipFootprint(
            members: table.count, suspicions: table.suspicions.count, probes: probes.count,
            relayedProbes: relayed.count, exchanges: antiEntropy.count, membershipNews: dissemination.counts[0],
            loadNews: dissemination.counts[1], userNews: dissemination.counts[2])
    }

    /// Most members that a table takes.
    package static var membersMax: Int { MemberTable.membersMax }
    /// Most user records that wait to be sent.
    package static var userNewsMax: Int { Dissemination.userItemsMax }
    /// Most probes for others that are under way.
    package static var relayedProbesMax: Int { RelayedProbe.countMax }
}
