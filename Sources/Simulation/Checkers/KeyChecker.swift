internal import ClusterKeys
internal import ClusterModel
internal import Gossip

/// Invariant 11: keys that change under partitions leave one cluster with one ring and one key that seals; a removed key
/// opens for its grace and no longer.
///
/// It goes by rings as they are and by what was opened, not by how they came to be.
package struct KeyChecker: Sendable {
    /// For tests of the checker: beyond the grace of the settings, in seconds.
    package var slackSeconds: UInt64 = 1
    package var graceSeconds: UInt64 = 0
    /// Steps of a node's wall clock, which lengthen its graces.
    private var clockSteps: [Int: UInt64] = [:]
    /// When a node's ring had a key out of service first, by the node's clock.
    private var retired: [Int: [KeyFingerprint: UInt64]] = [:]

    package init() {}

    mutating func clockJumped(of node: Int, by seconds: UInt64) { clockSteps[node, default: 0] += seconds }

    mutating func ringChanged(_ ring: KeyRing<SimulatedKey>, of node: Int, at seconds: UInt64) {
        let serving = Set(ring.installed.map(\.fingerprint))
        for rank in ring.removed where !serving.contains(rank.fingerprint) {
            if retired[node]?[rank.fingerprint] == nil { retired[node, default: [:]][rank.fingerprint] = seconds }
        }
        for key in serving { retired[node]?[key] = nil }
    }

    /// A node took something that `key` sealed; what is wrong with it, in words.
    func accepted(_ key: KeyFingerprint, by node: Int, at seconds: UInt64) -> String? {
        guard let since = retired[node]?[key] else { return nil }
        let allowed = graceSeconds + slackSeconds + clockSteps[node, default: 0]
        guard seconds > since, seconds - since > allowed else { return nil }
        return "key grace: n\(node) took what key \(key) sealed \(seconds - since) s after its removal"
    }

    /// What is wrong now, in words, when partitions have healed and members had time to exchange their rings.
    ///
    /// `isLate`: as long as a grace ago nothing was rotated any more.
    package func violations(_ cluster: ClusterSimulation, isLate: Bool) -> [String] {
        var found: [String] = []
        let holders = cluster.running.filter { cluster.nodes[$0].keys != nil }
        guard let first = holders.first, let model = cluster.nodes[first].keys?.rotation.ring else { return [] }
        for index in holders {
            guard let ring = cluster.nodes[index].keys?.rotation.ring else { continue }
            let isSealedAlike = ring.entries[0].fingerprint == model.entries[0].fingerprint
            let isServedAlike = Set(ring.installed.map(\.fingerprint)) == Set(model.installed.map(\.fingerprint))
            if !isSealedAlike { found.append("key agreement: n\(index) seals with another key than n\(first)") }
            if !isServedAlike { found.append("key agreement: n\(index) has other keys in service than n\(first)") }
            if cluster.nodes[index].keys?.kept != ring {
                found.append("key disk: n\(index) would fall back at a restart")
            }
            // A clock that was set back makes a grace longer.
            if isLate, clockSteps[index] == nil, ring.entries.contains(where: \.isRetired) {
                found.append("key grace: n\(index) still opens with a removed key")
            }
        }
        return found
    }
}
