import Logging
import Synchronization

/// What one node logs, without metadata.
final class LogLines: LogHandler, Sendable {
    private let messages = Mutex<[String]>([])

    func lines(with text: String) -> [String] { messages.withLock { $0.filter { $0.contains(text) } } }

    // One level and no metadata for all loggers of the node: nothing here depends on either.
    var logLevel: Logger.Level {
        get { .info }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) { messages.withLock { $0.append("\(event.message)") } }
}
