internal import ClusterModel
internal import OCI

/// In which order a node tries to have a registry's blob, so that the registry gives it once to the cluster.
///
/// All nodes rank the members for each blob alike; the first of the ranking is the blob's owner, who pulls it for all.
/// A node that another asked to be the owner never asks an owner itself, so nobody waits for himself in a circle.
struct SharePlan: Equatable {
    enum Step: Equatable {
        /// Ask this node to get it for all.
        case owner(PeerID)
        /// Ask these in turn whether they have it.
        case holders([PeerID])
        case registry
    }

    /// Owners that are tried before the registry itself.
    static let ownersMax = 2
    /// Nodes that the owner asks before it asks the registry: earlier owners are among the first of the ranking, so a
    /// few are enough even in a large cluster.
    static let askedBeforeRegistryMax = 16

    let steps: [Step]

    /// `isAsked` says that this node asks no owner: it was asked to be one, or the first bytes that came were wrong.
    ///
    /// `peers` are the live ones, without `own`; those that are `demoted` own nothing and are asked last.
    init(for blob: Digest, own: PeerID, peers: [PeerID], demoted: Set<PeerID> = [], isAsked: Bool) {
        func ranked(_ nodes: [PeerID]) -> [PeerID] {
            nodes.sorted {
                (RendezvousHash.weight(of: $0, for: blob), $0) > (RendezvousHash.weight(of: $1, for: blob), $1)
            }
        }
        let ranking = ranked([own] + peers.filter { !demoted.contains($0) })
        let others = ranking.filter { $0 != own }
        let owners = isAsked ? [] : Array(ranking.prefix(Self.ownersMax).prefix { $0 != own })
        var steps = owners.map(Step.owner)
        if owners.count < Self.ownersMax {
            let asked = Array(others.prefix(Self.askedBeforeRegistryMax))
            if !asked.isEmpty { steps.append(.holders(asked)) }
        }
        steps.append(.registry)
        let last = others + ranked(peers.filter(demoted.contains))
        if !last.isEmpty { steps.append(.holders(last)) }
        self.steps = steps
    }

    /// Whether other nodes may wait for what this plan brings: it leads to the registry, not to another owner.
    var isOwners: Bool {
        if case .owner = steps.first { false } else { true }
    }
}
