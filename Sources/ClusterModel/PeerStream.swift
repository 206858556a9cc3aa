/// One ordered, two-way stream of messages to a peer, multiplexed with others over the peer link.
///
/// A port: Wire implements it over TCP; tests connect two ends in memory.
package protocol PeerStream: AnyObject, Sendable {
    /// Sends one message of at most `PeerStreamLimits.messageBytesMax`; waits while the peer's window is full.
    func send(_ message: [UInt8]) async throws
    /// The next message; nil when the peer has finished sending. Throws when the link broke or the stream was reset.
    func receive() async throws -> [UInt8]?
    /// Says that no more messages follow. The other direction stays open.
    func finish() async
    /// Ends both directions at once; the peer's next `receive` throws. Harmless after the end.
    func reset()
    /// What the connection below carries towards the peer when it is busy, however slow the peer reads; nil while that is
    /// not known.
    func linkRate() async -> LinkRate?
}

/// What a connection is able to carry in one direction.
package struct LinkRate: Sendable, Hashable {
    package let bytesPerSecond: Double
    /// The sender had too little to send to find out more.
    package let isLowerBound: Bool

    package init(bytesPerSecond: Double, isLowerBound: Bool) {
        self.bytesPerSecond = bytesPerSecond
        self.isLowerBound = isLowerBound
    }
}

extension PeerStream {
    package func linkRate() async -> LinkRate? { nil }
}

package enum PeerStreamLimits {
    /// Longest message of a stream: bounds what one side makes the other allocate.
    package static let messageBytesMax = 1 << 20
}
