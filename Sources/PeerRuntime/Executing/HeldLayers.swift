internal import OCI
internal import Snapshots
internal import Synchronization

/// Layers that a piece of work builds on: not collected until it lets go of them.
final class HeldLayers: Sendable {
    private let snapshots: SnapshotStore
    private let pinned = Mutex<[Digest]>([])

    init(_ snapshots: SnapshotStore) { self.snapshots = snapshots }

    /// Whether all of them are here; then they stay.
    func hold(_ layers: [Digest]) -> Bool {
        do { try snapshots.pin(layers) } catch { return false }
        pinned.withLock { $0 += layers }
        return true
    }

    func release() {
        let layers = pinned.withLock { pinned in
            defer { pinned = [] }
            return pinned
        }
        snapshots.unpin(layers)
    }
}
