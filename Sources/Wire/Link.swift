internal import ClusterModel
internal import UVLoop

/// One TCP connection to a peer with its protocol state and what waits for it.
///
/// Lives on the loop's thread.
final class Link {
    /// Names the link within the node.
    let number: UInt64
    let isDialer: Bool
    /// What was dialed, or where the connection came from.
    let address: PeerAddress
    let started: ContinuousClock.Instant
    var connection: TCPConnection?
    var machine: LinkMachine
    /// Set once the handshake is over.
    private(set) var peer: PeerID?
    private(set) var bootID: UInt64 = 0
    var lastHeard: ContinuousClock.Instant
    var isPingPending = false
    /// The connection is up; the handshake may not be over.
    var isConnected = false
    /// Whether the socket is read; not while there is no room.
    var isReading = false
    /// Since when there are no streams; nil while there are some.
    var idleSince: ContinuousClock.Instant?
    /// Either side has said that it opens no more streams.
    var isLeaving = false
    /// Why the link is over.
    var failure: WireError?
    /// Streams of the link by their number on it.
    var handles: [UInt32: UInt64] = [:]

    init(
        number: UInt64, isDialer: Bool, address: PeerAddress, connection: consuming TCPConnection, machine: LinkMachine,
        now: ContinuousClock.Instant
    ) {
        self.number = number
        self.isDialer = isDialer
        self.address = address
        self.connection = consume connection
        self.machine = machine
        started = now
        lastHeard = now
    }

    /// The handshake is over.
    func establish(peer: PeerID, bootID: UInt64, at now: ContinuousClock.Instant) {
        self.peer = peer
        self.bootID = bootID
        idleSince = now
    }

    var isUsable: Bool { failure == nil && !isLeaving && peer != nil }

    /// Which of two links between one pair of nodes both nodes keep: that which the smaller id dialed.
    func isPreferred(own: PeerID) -> Bool {
        guard let peer else { return false }
        return isDialer == (own < peer)
    }
}
