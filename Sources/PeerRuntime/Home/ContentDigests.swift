internal import ClusterModel
internal import OCI
internal import Snapshots
internal import Solver
internal import Transfer

/// Digests what an op reads of a tree: here when the layers are here, else where they are.
///
/// Layers never move for it.
struct ContentDigests: Sendable {
    let snapshots: SnapshotStore
    let dialer: any PeerDialer

    func digest(_ tree: Assignment.Input, _ selections: [ContentSelection]) async throws -> Digest {
        if tree.chain.layers.allSatisfy({ snapshots.contains($0.id) }) { return try digest(tree.chain, selections) }
        var last: any Error = LayersUnavailable(layer: tree.chain.id, asked: 0)
        for holder in tree.holders where dialer.isLive(holder) && holder != dialer.selfID {
            do {
                return try await PeerCalls(dialer: dialer).content(tree.chain, selections, at: holder)
            } catch let failure as VertexFailure {
                // The holder's answer: the path does not exist, for example.
                throw failure
            } catch {
                try Task.checkCancellation()
                last = LayersUnavailable(layer: tree.chain.id, asked: 1)
            }
        }
        throw last
    }

    /// Digests a tree whose layers are on this node.
    func digest(_ chain: LayerChain, _ selections: [ContentSelection]) throws -> Digest {
        try snapshots.tree(of: chain).contentDigest(of: selections.map(ContentSelector.init))
    }
}
