package import ClusterModel
internal import Synchronization

/// A tree to read from.
///
/// It ends with `release` or when nobody holds it any more.
package final class ViewSnapshot: Sendable {
    /// The tree's root directory.
    ///
    /// Must not be written to: it may be the layer itself.
    package let path: String
    package let chain: LayerChain
    private let end: Mutex<(@Sendable () -> Void)?>

    init(path: String, chain: LayerChain, end: @escaping @Sendable () -> Void) {
        self.path = path
        self.chain = chain
        self.end = Mutex(end)
    }

    deinit { release() }

    /// Unmounts the tree and lets its layers be removed.
    ///
    /// Harmless when done before.
    package func release() {
        let end = end.withLock { end in
            defer { end = nil }
            return end
        }
        end?()
    }
}
