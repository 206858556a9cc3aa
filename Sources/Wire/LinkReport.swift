package import ClusterModel

/// What one link to a peer is and has moved.
package struct LinkReport: Sendable, Hashable {
    /// One direction, since the link's start.
    package struct Direction: Sendable, Hashable {
        /// Bytes of records, sealed.
        package var bytes: UInt64 = 0
        package var records: UInt64 = 0
        package var rekeys: UInt64 = 0

        package init() {}
    }

    package var peer: PeerID
    package var address: PeerAddress
    /// Whether this node dialed.
    package var isDialer: Bool
    /// The cipher's name, for people.
    package var cipher: String
    package var age: Duration
    package var openStreams: Int
    package var sent: Direction
    package var received: Direction
    /// Bytes of messages sent, by the priority of their stream.
    package var sentByPriority: [StreamPriority: UInt64]
    package var receivedByPriority: [StreamPriority: UInt64]
}
