internal import ClusterModel

/// A probe that this node runs for another.
struct RelayedProbe: Hashable, Sendable {
    /// Of this node's own ping.
    let number: UInt32
    let subject: PeerID
    /// Of the asker's probe.
    let askedNumber: UInt32
    let asker: PeerAddress
    let deadline: MonotonicInstant

    /// Relayed probes under way at once: bounds what others can make this node send.
    static let countMax = 128
}
