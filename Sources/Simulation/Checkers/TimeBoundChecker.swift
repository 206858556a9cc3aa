package import ClusterModel
internal import Gossip

/// The bounds in time of `gossip.md` 4.7: how long after the last disturbance a node may stay suspect (2), be dead though
/// it answers (2), be up though it crashed (3), and how long two tables may differ (4).
///
/// A disturbance is whatever the script does to nodes or network, its end included. It goes by what the simulation did,
/// not by what the protocol says of it.
package struct TimeBoundChecker: Sendable {
    private struct Pair: Hashable, Sendable {
        var observer: Int
        var subject: PeerID
        var bootID: UInt64
        var incarnation: UInt32
    }

    /// When the script did something last.
    package var disturbedAt: MonotonicInstant
    /// For tests of the checker: all bounds are so many times as long.
    package var scale = 1.0
    private var suspectSince: [Pair: MonotonicInstant] = [:]

    /// A stopped process whose kernel answers is suspect for so long, in periods.
    private static let stalledPeriods = 30.0
    /// The longest wait of a member that often came back.
    private static let dampedPeriods = 16.0
    private static let slackPeriods = 4.0
    private static let deadThoughAlivePeriods = 30.0
    private static let differingPeriods = 6.0
    private static let healPeriods = 8.0

    package init(from now: MonotonicInstant) { disturbedAt = now }

    /// The longest that a suspicion with too few accusers may last, in periods.
    static func suspicionPeriodsMax(_ cluster: ClusterSimulation) -> Double {
        let log2 = Double(Int.bitWidth - 1 - max(1, cluster.nodes.count).leadingZeroBitCount)
        return cluster.configuration.suspicionPeriodsMax + 2 * log2
    }

    /// What is over its bound now, in words; called twice a period.
    package mutating func violations(_ cluster: ClusterSimulation) -> [String] {
        checkSuspicions(cluster) + checkTheDead(cluster) + checkHashes(cluster)
    }

    private func periods(since instant: MonotonicInstant, _ cluster: ClusterSimulation) -> Double {
        (cluster.now - instant).inSeconds / cluster.configuration.period.inSeconds / scale
    }

    private func observers(_ cluster: ClusterSimulation) -> [Int] {
        cluster.running.filter { cluster.nodes[$0].pausedUntil == nil }
    }

    private mutating func checkSuspicions(_ cluster: ClusterSimulation) -> [String] {
        var found: [String] = []
        var seen: [Pair: MonotonicInstant] = [:]
        let usual = max(Self.suspicionPeriodsMax(cluster), Self.dampedPeriods) + Self.slackPeriods
        for observer in observers(cluster) {
            for member in cluster.nodes[observer].membership.members where member.state == .suspect {
                let pair = Pair(
                    observer: observer, subject: member.id, bootID: member.bootID, incarnation: member.incarnation)
                let since = suspectSince[pair] ?? cluster.now
                seen[pair] = since
                let limit = member.condition == .stalled ? Self.stalledPeriods + usual : usual
                guard periods(since: max(since, disturbedAt), cluster) > limit else { continue }
                found.append("bound 2: n\(observer) holds \(member.name) suspect for more than \(limit) T")
            }
        }
        suspectSince = seen
        return found
    }

    private func checkTheDead(_ cluster: ClusterSimulation) -> [String] {
        var found: [String] = []
        let quiet = periods(since: disturbedAt, cluster)
        let crashLimit = Self.suspicionPeriodsMax(cluster) + Self.slackPeriods
        for observer in observers(cluster) {
            for member in cluster.nodes[observer].membership.members {
                let living = cluster.running.first { index in
                    let node = cluster.nodes[index]
                    return ClusterSimulation.id(of: node.identity) == member.id && node.boots == member.bootID
                }
                if living == nil, member.isUp, quiet > crashLimit {
                    found.append("bound 3: n\(observer) holds crashed \(member.name) for up after \(crashLimit) T")
                }
                guard living != nil, member.state == .dead, quiet > Self.deadThoughAlivePeriods else { continue }
                found.append("bound 2: n\(observer) holds \(member.name) for dead though it answers")
            }
        }
        return found
    }

    /// Nothing changed for 6 T, nor did the script for 8: all tables are equal.
    private mutating func checkHashes(_ cluster: ClusterSimulation) -> [String] {
        let hashes = Set(observers(cluster).map { cluster.nodes[$0].membership.stateHash })
        guard hashes.count > 1 else { return [] }
        guard periods(since: cluster.changedAt, cluster) > Self.differingPeriods,
            periods(since: disturbedAt, cluster) > Self.healPeriods
        else { return [] }
        return ["bound 4: \(hashes.count) state hashes though nothing changed for \(Self.differingPeriods) T"]
    }
}
