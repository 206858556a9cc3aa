package import ClusterModel

/// With which key of the ring a link to an address is begun.
///
/// Most peers have the key that seals. One that was away has an older one: it is told apart by what it seals with itself,
/// or by refusing a handshake, after which each key has its turn while older ones exist. So two halves of a cluster that
/// both rotated find each other by the key that both had.
package struct DialKeys: Sendable {
    private var heard: [PeerAddress: KeyFingerprint] = [:]
    /// Handshakes that failed since the last that did not.
    private var failures: [PeerAddress: Int] = [:]
    /// Beyond these, others are dialled with the key that seals.
    private let addressesMax: Int

    package init(addressesMax: Int) { self.addressesMax = addressesMax }

    /// The key for the next handshake with `address`; `keys` open now, the sealing one first.
    package func key(for address: PeerAddress, of keys: [KeyFingerprint]) -> KeyFingerprint? {
        if let known = heard[address], keys.contains(known) { return known }
        return keys.isEmpty ? nil : keys[(failures[address] ?? 0) % keys.count]
    }

    /// A peer seals with `key` there, or took a link with it.
    package mutating func heard(_ key: KeyFingerprint, at address: PeerAddress, sealing: KeyFingerprint) {
        failures[address] = nil
        if key == sealing {
            heard[address] = nil
        } else if heard.count < addressesMax || heard[address] != nil {
            heard[address] = key
        }
    }

    /// A peer there took the connection and not the handshake.
    package mutating func failed(at address: PeerAddress) {
        heard[address] = nil
        if failures.count < addressesMax || failures[address] != nil { failures[address, default: 0] += 1 }
    }

    /// The peer there has the same ring as this node.
    package mutating func agreed(at address: PeerAddress) {
        heard[address] = nil
        failures[address] = nil
    }
}
