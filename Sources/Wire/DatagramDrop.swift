/// Why a datagram that came in, or an answer that should go out, went no further.
package enum DatagramDrop: String, Sendable, Hashable, CaseIterable {
    /// Longer than any that a node sends.
    case oversized
    /// Too short for an envelope.
    case truncated
    /// Another version of the envelope, or flags that nobody sets.
    case unknownVersion
    /// From another cluster, or sealed with a key that this node has never had.
    case foreign
    /// Sealed with a key whose grace is over.
    case retiredKey
    /// The envelope is this cluster's, but the seal does not open: damaged, forged, or bound to another receiver.
    case forged
    /// Seen before, or older than the window.
    case replayed
    /// From an earlier start of its sender.
    case staleBoot
    /// Says that this node sent it: somebody runs a copy of this node's root directory.
    case cloned
    /// Good, but nobody took it in time.
    case overflow
    /// Not sent: more than a source that has not proved its address may be answered.
    case unvalidated

    /// What an operator is told once a minute.
    var explanation: String {
        switch self {
        case .oversized: "longer than any of this protocol"
        case .truncated: "too short to be of this protocol"
        case .unknownVersion: "of another protocol or version; check that all nodes run the same release"
        case .foreign: "not sealed with this cluster's key; check cluster keys and cluster names"
        case .retiredKey: "sealed with a key that was retired; give that node the present key and restart it"
        case .forged: "damaged, forged or meant for another node"
        case .replayed: "replays, or far out of order"
        case .staleBoot: "from before their sender's restart"
        case .cloned:
            "sent with this node's own identity: its root directory was copied; give one of the two a new root"
        case .overflow: "more than this node could take in time"
        case .unvalidated: "answers to addresses that have not proved themselves"
        }
    }
}
