package import OCI

/// Highest-random-weight choice of nodes for a key (Thaler and Ravishankar 1998).
///
/// Every node with the same view picks the same node, and a member's coming or going moves only its own keys.
package enum RendezvousHash {
    /// The weight of `peer` for `key`.
    package static func weight(of peer: PeerID, for key: Digest) -> UInt64 {
        var folded: UInt64 = 0
        for byte in key.bytes.prefix(8) { folded = folded << 8 | UInt64(byte) }
        return SplitMix64.mix(folded ^ SplitMix64.mix(peer.rawValue))
    }

    /// The best node for `key`, nil when there is none.
    package static func owner(of key: Digest, among peers: some Sequence<PeerID>) -> PeerID? {
        peers.max { (weight(of: $0, for: key), $0) < (weight(of: $1, for: key), $1) }
    }
}
