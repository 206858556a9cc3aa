internal import CacheMap
internal import Logging
internal import Wire

/// Tells an operator what the cache map noticed: one line per cause and minute, however often a peer gives reason.
struct MapNoticeLog: Sendable {
    private enum Cause: Hashable { case malformed, refused, damaged, unreliable }

    private let logger: Logger
    private var causes = CauseLog<Cause>()

    init(logger: Logger) { self.logger = logger }

    mutating func log(_ notice: MapNotice) {
        switch notice {
        case .malformed(let peer, let error):
            log(
                .malformed, .warning, "a cache announcement that no member writes is dropped",
                ["from": "\(peer)", "error": "\(error)"])
        case .refused(let peer):
            log(
                .refused, .warning, "a cache digest without its pages, or with too many, is refused",
                ["from": "\(peer)"])
        case .damaged(let peer):
            log(.damaged, .info, "a cache digest is fetched again: it is not its owner's", ["of": "\(peer)"])
        case .unreliable(let peer):
            log(.unreliable, .info, "a cache digest is fetched again: too much of it was denied", ["of": "\(peer)"])
        }
    }

    /// With how many went unsaid.
    private mutating func log(_ cause: Cause, _ level: Logger.Level, _ text: String, _ metadata: Logger.Metadata) {
        guard let silent = causes.due(cause, at: .now) else { return }
        logger.log(
            level: level, "\(text)\(silent > 0 ? "; \(silent) more since the last such line" : "")",
            metadata: metadata)
    }
}
