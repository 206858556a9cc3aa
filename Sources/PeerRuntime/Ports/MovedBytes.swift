package import ClusterModel

/// Bytes of content that one piece of work moved, and that it did not have to move, by kind.
package struct MovedBytes: Sendable, Hashable {
    /// From other nodes.
    package var pulled: Int64 = 0
    /// Of `pulled`: what each node served.
    package var served: [PeerID: Int64] = [:]
    /// Of `pulled`: what came before the work waited for it.
    package var prefetched: Int64 = 0
    /// Not pulled: other layers of the node had them.
    package var deduplicated: Int64 = 0
    /// Not pulled: an earlier pull, cut off or ahead of time, had brought them.
    package var resumed: Int64 = 0
    /// Not pulled: nothing here reads them.
    package var leftOut: Int64 = 0
    /// From registries.
    package var registry: Int64 = 0

    package init() {}

    package static func + (left: MovedBytes, right: MovedBytes) -> MovedBytes {
        var sum = left
        sum.pulled &+= right.pulled
        sum.served.merge(right.served) { $0 &+ $1 }
        sum.prefetched &+= right.prefetched
        sum.deduplicated &+= right.deduplicated
        sum.resumed &+= right.resumed
        sum.leftOut &+= right.leftOut
        sum.registry &+= right.registry
        return sum
    }
}
