internal import ClusterModel
internal import Logging
internal import OCI

/// Asks peers to keep layers that this node, or a build of it, will come for.
struct LeaseRenewal: Sendable {
    /// Well below the 30 s that a lease lasts, so that one lost question costs nothing.
    static let periodDefault = Duration.seconds(8)

    let dialer: any PeerDialer
    /// Between two renewals.
    let period: Duration
    let logger: Logger

    /// Renews once; a holder that does not answer is passed over.
    func renew(_ layers: [Digest], at holders: [PeerID]) async {
        for holder in holders where holder != dialer.selfID && dialer.isLive(holder) {
            var rest = layers[...]
            while !rest.isEmpty {
                let some = Array(rest.prefix(PeerMessage.layersMax))
                rest = rest.dropFirst(some.count)
                do {
                    _ = try await PeerCalls(dialer: dialer).lease(some, at: holder)
                } catch {
                    logger.debug(
                        "a lease was not renewed",
                        metadata: ["node": "\(dialer.name(of: holder))", "error": "\(error)"])
                    break
                }
            }
        }
    }
}
