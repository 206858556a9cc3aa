internal import ClusterModel

/// A stream that a peer opened and no handler has yet.
struct UnservedStream {
    let service: String
    let priority: StreamPriority
    let peer: PeerID
    let stream: LinkStream
}
