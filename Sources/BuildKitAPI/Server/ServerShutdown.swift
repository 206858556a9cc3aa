internal import PeerRuntime

/// The end of a server: begun once, and then over after a grace.
final class ServerShutdown: Sendable {
    private let begun = Promise<Duration>()

    var hasBegun: Bool { begun.outcome != nil }

    /// Waits for the beginning.
    ///
    /// Throws `CancellationError`.
    var grace: Duration {
        get async throws { try await begun.value }
    }

    /// Begins; the first grace stands.
    func begin(grace: Duration) { begun.fulfil(grace) }
}
