internal import ClusterModel
internal import Transfer

/// What a holder sends on one stream, without its word that it serves others first.
struct HolderInbox {
    private let stream: any PeerStream
    private let waits: Bool
    private var isServed: Bool

    /// Without `waits` a holder that serves others first is not waited for; `isServed` says that it has answered.
    init(_ stream: any PeerStream, waits: Bool = true, isServed: Bool = false) {
        self.stream = stream
        self.waits = waits
        self.isServed = isServed
    }

    /// The next message, and its bytes as they crossed the link; nil when the holder sends no more.
    ///
    /// `waiting` is called each time that the holder says that it serves others first; behind its first answer that is
    /// a message like others, and nobody expects it.
    /// - Throws: `TransferError.busy` instead of waiting, `.malformedMessage`, what the stream throws.
    mutating func next(_ waiting: () -> Void) async throws -> (message: TransferMessage, bytes: Int)? {
        while let bytes = try await stream.receive() {
            let message = try TransferMessage(decoding: bytes)
            guard case .waiting = message, !isServed else {
                isServed = true
                return (message, bytes.count)
            }
            guard waits else { throw TransferError.busy }
            waiting()
        }
        return nil
    }
}
