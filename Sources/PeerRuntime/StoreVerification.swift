package import OCI
internal import Snapshots

/// Checks the layers of a node, also while it runs.
package final class StoreVerification: Sendable {
    /// Nil beside a running node: then nothing is changed.
    private let lock: RootLock?
    private let snapshots: SnapshotStore

    /// - Throws: `StoreVerificationError` when damaged layers are to be set aside while a node runs on `root`,
    ///   `NodeError`, `SnapshotError` when it cannot be read.
    package init(root: String, settingAside: Bool) throws {
        do {
            lock = try RootLock(root: root)
        } catch NodeError.rootInUse {
            guard !settingAside else { throw StoreVerificationError.nodeRuns(root: root) }
            lock = nil
            snapshots = try SnapshotStore(reading: root + "/snapshots")
            return
        }
        snapshots = try SnapshotStore(root: root + "/snapshots")
    }

    /// Whether a node runs on the root.
    package var isBesideNode: Bool { lock == nil }

    /// All layers, in digest order.
    package func layers() throws -> [Digest] { try snapshots.list() }

    /// Hashes a layer again; one line for each path that is damaged.
    ///
    /// With `settingAside` the layer is taken out of use when it is damaged: the node fetches what is bad from a peer when
    /// it needs the layer, and keeps what is good.
    package func verify(_ layer: Digest, settingAside: Bool) throws -> [String] {
        let damages: [LayerDamage]
        do { damages = try snapshots.verify(layer) } catch {
            // Collected by the node meanwhile.
            guard snapshots.contains(layer) else { return [] }
            throw error
        }
        guard snapshots.contains(layer) else { return [] }
        if settingAside { try snapshots.setAside(damages) }
        return damages.map(\.description)
    }
}

/// Why layers cannot be repaired.
package enum StoreVerificationError: Error, CustomStringConvertible {
    case nodeRuns(root: String)

    package var description: String {
        switch self {
        case .nodeRuns(let root):
            "a node runs on \(root), and layers that it uses cannot be taken out of use: stop it for --repair; "
                + "without --repair they are checked while it runs"
        }
    }
}
