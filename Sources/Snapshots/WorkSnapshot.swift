package import ClusterModel
internal import OCI
internal import Synchronization
internal import Transfer

/// A writable tree over a chain: an overlay mount that `SnapshotStore.commit` turns into a layer.
package final class WorkSnapshot: Sendable {
    /// The mounted root directory.
    package let path: String
    package let chain: LayerChain
    /// `work/<n>` with `layer/fs` (upper), `work`, `merged` and `links`.
    let directory: String
    /// The root directory's metadata as it was prepared.
    let rootEntry: LayerEntry
    let pinned: [Digest]
    private let isOpen = Mutex(true)

    /// Where the changes are collected, in overlayfs' form.
    ///
    /// Only to be looked at, and only when nothing runs.
    package var upperPath: String { directory + "/layer/fs" }

    init(path: String, chain: LayerChain, directory: String, rootEntry: LayerEntry, pinned: [Digest]) {
        self.path = path
        self.chain = chain
        self.directory = directory
        self.rootEntry = rootEntry
        self.pinned = pinned
    }

    /// Whether this call is the one that ends the snapshot.
    func close() -> Bool {
        isOpen.withLock { isOpen in
            defer { isOpen = false }
            return isOpen
        }
    }
}
