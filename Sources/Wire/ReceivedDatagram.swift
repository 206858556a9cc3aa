package import ClusterModel

/// A datagram that was sealed by a node with the cluster key and is no replay.
package struct ReceivedDatagram: Sendable, Hashable {
    /// The plaintext.
    package let bytes: [UInt8]
    /// Where it came from: answers go there.
    package let source: PeerAddress
    /// The node that its nonce names.
    ///
    /// A holder of the cluster key could lie here; links prove it.
    package let sender: PeerID
    package let senderBootID: UInt64
}
