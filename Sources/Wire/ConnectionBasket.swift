internal import UVLoop

/// Carries a connection through a closure, which cannot take over what may not be copied.
// @unchecked: filled and emptied on the loop's thread.
final class ConnectionBasket: @unchecked Sendable {
    private var connection: TCPConnection?

    init(_ connection: consuming TCPConnection) { self.connection = consume connection }

    /// The connection, once.
    func take() -> TCPConnection? {
        let taken = connection.take()
        return taken
    }
}
