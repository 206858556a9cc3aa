internal import ClusterModel
internal import Logging
internal import Synchronization
internal import Wire

/// Logs what peers ask for in vain: one line per cause and minute, however often a peer asks.
final class PeerCallLog: Sendable {
    /// What is told apart.
    enum Cause: Hashable, Sendable {
        /// Whatever the service is called: its name is the peer's choice, and each new one would have its own line.
        case unknownService(PeerID)
        case failure(PeerService, PeerID)
    }

    private let causes = Mutex(CauseLog<Cause>())

    /// Logs a line unless the cause had one within the last minute; the next line says how many were left out.
    func note(
        _ cause: Cause, _ logger: Logger, _ level: Logger.Level, _ text: String, _ metadata: Logger.Metadata,
        at now: ContinuousClock.Instant = .now
    ) {
        guard let silent = causes.withLock({ $0.due(cause, at: now) }) else { return }
        logger.log(
            level: level, "\(text)\(silent > 0 ? "; \(silent) more since the last such line" : "")",
            metadata: metadata)
    }
}
