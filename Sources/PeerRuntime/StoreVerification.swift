package import OCI
internal import Snapshots

/// Checks the layers of a node that is not running.
package final class StoreVerification: Sendable {
    private let lock: RootLock
    private let snapshots: SnapshotStore

    /// - Throws: `NodeError.rootInUse` while a node runs on `root`.
    package init(root: String) throws {
        lock = try RootLock(root: root)
        snapshots = try SnapshotStore(root: root + "/snapshots")
    }

    /// All layers, in digest order.
    package func layers() throws -> [Digest] { try snapshots.list() }

    /// Hashes a layer again; one line for each path that is damaged.
    ///
    /// With `settingAside` the layer is taken out of use when it is damaged: the node fetches what is bad from a peer when
    /// it needs the layer, and keeps what is good.
    package func verify(_ layer: Digest, settingAside: Bool) throws -> [String] {
        let damages = try snapshots.verify(layer)
        if settingAside { try snapshots.setAside(damages) }
        return damages.map(\.description)
    }
}
