internal import ClusterModel
internal import Synchronization

/// Which nodes have sent wrong bytes: they are asked last.
///
/// Until this node starts again: a disk that damages what it holds does so again.
final class HolderStanding: Sendable {
    private let demoted = Mutex<Set<PeerID>>([])

    func demote(_ peer: PeerID) { demoted.withLock { _ = $0.insert(peer) } }

    /// The peers that have sent wrong bytes.
    var demotedPeers: Set<PeerID> { demoted.withLock { $0 } }

    /// The peers in their order, demoted ones behind all others.
    func sorted(_ peers: [PeerID]) -> [PeerID] {
        let demoted = demoted.withLock { $0 }
        return peers.filter { !demoted.contains($0) } + peers.filter(demoted.contains)
    }
}
