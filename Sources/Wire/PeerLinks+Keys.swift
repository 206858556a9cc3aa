internal import ClusterKeys
package import ClusterModel
internal import Logging
package import Sodium

/// A peer that seals with another key than this node: it has missed a change of keys, or this node has.
package struct OtherKey: Sendable, Hashable {
    package let peer: PeerID
    package let address: PeerAddress
}

extension PeerLinks {
    /// Least time between two notices about one peer.
    static let otherKeyInterval: Duration = .seconds(2)

    /// The keys that links and datagrams use now.
    package var keys: ClusterKeyRing { configuration.keys }

    /// Takes another ring; links that are up stay up, they have keys of their own.
    package func replaceKeys(_ ring: ClusterKeyRing) throws {
        try seal.replaceKeys(ring)
        configuration.keys = ring
    }

    /// The peer at `address` has this node's ring: what it was known to seal with says nothing any more.
    package func keysAgreed(at address: PeerAddress) { dialKeys.agreed(at: address) }

    /// The configuration for a handshake with `address`: with the key that is known there, or whose turn it is.
    func handshakeConfiguration(for address: PeerAddress) -> PeerLinkConfiguration {
        var own = configuration
        own.keys.expire(at: Self.unixSeconds)
        let name = dialKeys.key(for: address, of: own.keys.entries.map(\.fingerprint))
        own.dialKey = own.keys.entries.first { $0.fingerprint == name }?.key
        return own
    }

    func heardOtherKey(_ key: KeyFingerprint, of peer: PeerID, at address: PeerAddress) {
        dialKeys.heard(key, at: address, sealing: configuration.keys.entries[0].fingerprint)
        if let last = otherKeyNotices[peer], last.duration(to: now) < Self.otherKeyInterval { return }
        if otherKeyNotices.count >= WireLimits.replaySendersMax { otherKeyNotices = [:] }
        otherKeyNotices[peer] = now
        otherKeyFeed.yield(OtherKey(peer: peer, address: address))
    }

    /// The handshake of a link is over: it was made with `key`.
    func linkMade(with key: KeyFingerprint?, to peer: PeerID, at address: PeerAddress) {
        let sealing = configuration.keys.entries[0].fingerprint
        guard let key, key != sealing else { return dialKeys.heard(sealing, at: address, sealing: sealing) }
        heardOtherKey(key, of: peer, at: address)
    }

    /// A link is over before its handshake was.
    func linkNotMade(_ link: Link) {
        if link.isDialer, link.isConnected { dialKeys.failed(at: link.address) }
    }
}
