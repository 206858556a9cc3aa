internal import ContentStore
package import OCI
internal import Snapshots

/// Checks the layers and blobs of a node, also while it runs.
package final class StoreVerification: Sendable {
    /// Nil beside a running node: then nothing is changed.
    private let lock: RootLock?
    private let snapshots: SnapshotStore
    private let content: ContentStore

    /// - Throws: `StoreVerificationError` when what is damaged is to be set aside while a node runs on `root`,
    ///   `NodeError`, `SnapshotError` or `ContentStoreError` when it cannot be read.
    package init(root: String, settingAside: Bool) throws {
        do {
            lock = try RootLock(root: root)
        } catch NodeError.rootInUse {
            guard !settingAside else { throw StoreVerificationError.nodeRuns(root: root) }
            lock = nil
            snapshots = try SnapshotStore(reading: root + "/snapshots")
            content = ContentStore(reading: root + "/content")
            return
        }
        snapshots = try SnapshotStore(root: root + "/snapshots")
        content = try ContentStore(root: root + "/content")
    }

    /// Whether a node runs on the root.
    package var isBesideNode: Bool { lock == nil }

    /// All layers, in digest order.
    package func layers() throws -> [Digest] { try snapshots.list() }

    /// Hashes a layer again; one line for each path that is damaged.
    ///
    /// With `settingAside` the layer is taken out of use when it is damaged: the node fetches what is bad from a peer
    /// when it needs the layer, and keeps what is good.
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

    /// All blobs, in digest order: layers as registries have them, manifests, configurations, downloads.
    package func blobs() throws -> [Digest] { try content.list() }

    /// Hashes a blob again; nil when the node has collected it meanwhile.
    ///
    /// With `settingAside` a damaged blob is deleted: the node fetches it from a peer or its registry when it needs it.
    package func verify(blob: Digest, settingAside: Bool) throws -> VerifiedBlob? {
        let reader: BlobReader
        do throws(ContentStoreError) { reader = try content.reader(of: blob) } catch {
            if case .notFound = error { return nil }
            throw error
        }
        let damage = try reader.damage()
        if settingAside, damage != nil { try content.delete(reader) }
        return VerifiedBlob(bytes: reader.size, damage: damage?.description)
    }
}

/// What hashing a blob again has found.
package struct VerifiedBlob: Sendable, Hashable {
    /// Bytes of its file.
    package let bytes: Int64
    /// The blob, its file and what is wrong, for people; nil when nothing is.
    package let damage: String?
}

/// Why a store cannot be repaired.
package enum StoreVerificationError: Error, CustomStringConvertible {
    case nodeRuns(root: String)

    package var description: String {
        switch self {
        case .nodeRuns(let root):
            "a node runs on \(root), and what it uses cannot be taken out of use: stop it for --repair; "
                + "without --repair layers and blobs are checked while it runs"
        }
    }
}
