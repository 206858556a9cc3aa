package import ClusterModel

/// A failure of the peer plane: what happened, with whom, and what to do.
package enum WireError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The node's address cannot be used.
    case bind(address: PeerAddress, reason: String)
    /// A `host:port` text that is none.
    case malformedAddress(String)
    /// A name without addresses.
    case unresolved(name: String, reason: String)
    case unreachable(address: PeerAddress, reason: String)
    /// The peer closed the connection, or said nothing, before it had proved itself.
    case handshakeFailed(address: PeerAddress, reason: String)
    /// Another node than the expected one answered.
    case unexpectedPeer(address: PeerAddress, expected: PeerID, found: PeerID)
    case linkBroken(peer: PeerID, reason: String)
    /// The peer ended the stream before its end.
    case streamReset(service: String, peer: PeerID)
    /// This side has finished or reset the stream.
    case streamClosed(service: String, peer: PeerID)
    case messageTooLong(bytes: Int, bytesMax: Int)
    case datagramTooLong(bytes: Int, bytesMax: Int)
    case serviceNameTooLong(String)
    case tooManyStreams(peer: PeerID, streamsMax: Int)
    /// Two tasks receive from one stream.
    case concurrentReceive(service: String)
    case stopped

    package var description: String {
        switch self {
        case .bind(let address, let reason):
            "cannot use \(address) for peers: \(reason); choose another address or port with --bind"
        case .malformedAddress(let text):
            "\"\(text)\" is no peer address; write HOST:PORT, or [IPv6]:PORT"
        case .unresolved(let name, let reason):
            "no address for \(name): \(reason); check the name and the resolver"
        case .unreachable(let address, let reason):
            "peer \(address) cannot be reached: \(reason); check that a node runs there and that TCP gets through"
        case .handshakeFailed(let address, let reason):
            "handshake with \(address) failed: \(reason); check that both nodes have the same cluster key, cluster "
                + "name and version"
        case .unexpectedPeer(let address, let expected, let found):
            "\(address) is node \(found), not \(expected); its address has moved to another node"
        case .linkBroken(let peer, let reason):
            "link to node \(peer) broke: \(reason)"
        case .streamReset(let service, let peer):
            "node \(peer) reset the \(service) stream"
        case .streamClosed(let service, let peer):
            "the \(service) stream to node \(peer) is finished on this side"
        case .messageTooLong(let bytes, let bytesMax):
            "message of \(bytes) bytes; a stream takes \(bytesMax) at most"
        case .datagramTooLong(let bytes, let bytesMax):
            "datagram of \(bytes) bytes; \(bytesMax) at most"
        case .serviceNameTooLong(let name):
            "service name \"\(name)\" must have 1 to \(WireLimits.serviceNameBytesMax) bytes"
        case .tooManyStreams(let peer, let streamsMax):
            "\(streamsMax) streams to node \(peer) are open already; finish some first"
        case .concurrentReceive(let service):
            "two tasks receive from one \(service) stream; let one of them do it"
        case .stopped:
            "the node's peer links are stopped"
        }
    }
}
