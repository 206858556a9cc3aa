internal import Transfer

extension PeerService {
    /// What a peer is told while its stream waits for its turn to be served; nil where it is told nothing.
    ///
    /// Not where the peer can get the blob elsewhere: of two nodes that get `image` blobs for each other each would wait
    /// for the other one.
    var waitingMessage: [UInt8]? {
        switch self {
        case .layer, .blob: TransferMessage.waiting.encoded()
        case .have, .claim, .offer, .execute, .export, .session, .content, .prefetch, .lease, .image, .digests, .gossip,
            .keys:
            nil
        }
    }
}
