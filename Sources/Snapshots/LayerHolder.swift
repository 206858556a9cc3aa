package import ClusterModel

/// A node that may hold a layer, as a pull sees it.
package struct LayerHolder: Sendable {
    /// What the caller knows it by.
    package let id: UInt64
    /// Whether it is known to hold the layer; others are asked when no known one is left.
    package let isKnown: Bool
    /// Opens a stream on which `SnapshotStore.serveLayer` answers.
    package let open: @Sendable () async throws -> any PeerStream

    package init(id: UInt64, isKnown: Bool = true, open: @escaping @Sendable () async throws -> any PeerStream) {
        self.id = id
        self.isKnown = isKnown
        self.open = open
    }
}

/// What a pull tells while it goes on.
package struct PullObserver: Sendable {
    /// Bytes of content that came from a holder, and what crossed the link for them.
    package var received: @Sendable (_ holder: UInt64, _ content: Int64, _ wire: Int64) -> Void = { _, _, _ in }
    /// Bytes that other layers of this node had.
    package var deduplicated: @Sendable (Int64) -> Void = { _ in }
    /// Bytes that an earlier pull, cut off, had brought.
    package var resumed: @Sendable (Int64) -> Void = { _ in }
    /// A holder sent other bytes than those that it was asked for.
    package var lied: @Sendable (_ holder: UInt64) -> Void = { _ in }
    /// A holder could not be had, or not to the end.
    package var failed: @Sendable (_ holder: UInt64, _ why: String) -> Void = { _, _ in }

    package init() {}
}

/// Nobody was left to give the rest of a layer.
package struct PullFailure: Error, CustomStringConvertible {
    package let asked: Int
    /// Of the last holder.
    package let reason: String

    package var description: String { "no holder gave all of it (asked \(asked)); the last one: \(reason)" }
}
