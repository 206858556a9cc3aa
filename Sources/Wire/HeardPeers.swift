internal import ClusterModel

/// Which node was heard at an address lately.
struct HeardPeers {
    /// A node that was silent for this long may have been replaced by another at its address.
    static let freshFor: Duration = .seconds(10)
    static let addressesMax = 4_096

    private var peers: [PeerAddress: (peer: UInt64, at: ContinuousClock.Instant)] = [:]

    mutating func heard(_ peer: UInt64, at address: PeerAddress, now: ContinuousClock.Instant) {
        if peers.count >= Self.addressesMax, peers[address] == nil {
            peers = peers.filter { $0.value.at.duration(to: now) < Self.freshFor }
            guard peers.count < Self.addressesMax else { return }
        }
        peers[address] = (peer, now)
    }

    /// The node at `address`, when it was heard lately.
    func peer(at address: PeerAddress, now: ContinuousClock.Instant) -> UInt64? {
        guard let entry = peers[address], entry.at.duration(to: now) < Self.freshFor else { return nil }
        return entry.peer
    }
}
