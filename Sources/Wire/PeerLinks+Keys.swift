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
        dialKeys = dialKeys.filter { entry in ring.entries.contains { $0.fingerprint == entry.value } }
    }

    /// Drops keys whose grace is over; says whether there were any.
    package func expireKeys() throws -> Bool {
        var ring = configuration.keys
        guard ring.expire(at: Self.unixSeconds) else { return false }
        try replaceKeys(ring)
        return true
    }

    /// The configuration for a handshake with `address`: with the key that is known there, if that is not the first.
    func handshakeConfiguration(for address: PeerAddress) -> PeerLinkConfiguration {
        var own = configuration
        own.keys.expire(at: Self.unixSeconds)
        if let name = dialKeys[address] { own.dialKey = own.keys.entries.first { $0.fingerprint == name }?.key }
        return own
    }

    func heardOtherKey(_ key: KeyFingerprint, of peer: PeerID, at address: PeerAddress) {
        if dialKeys.count < WireLimits.replaySendersMax || dialKeys[address] != nil { dialKeys[address] = key }
        if let last = otherKeyNotices[peer], last.duration(to: now) < Self.otherKeyInterval { return }
        if otherKeyNotices.count >= WireLimits.replaySendersMax { otherKeyNotices = [:] }
        otherKeyNotices[peer] = now
        otherKeyFeed.yield(OtherKey(peer: peer, address: address))
    }

    /// The handshake of a link is over: it was made with `key`.
    func linkMade(with key: KeyFingerprint?, to peer: PeerID, at address: PeerAddress) {
        guard let key, key != configuration.keys.entries[0].fingerprint else {
            dialKeys[address] = nil
            return
        }
        heardOtherKey(key, of: peer, at: address)
    }
}
