/// Why a client's session could not do what a build asked of it.
package enum SessionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No session of that id was opened in time.
    case missing(id: String)
    /// The client went away.
    case ended(id: String)
    /// The client does not offer the service.
    case notServed(method: String)
    /// The client's own answer.
    case refused(String)
    case secretTooLarge(id: String, bytes: Int)
    case badAnswer(method: String, reason: String)

    package var description: String {
        switch self {
        case .missing(let id): "no active session for \(id): context deadline exceeded"
        case .ended(let id): "the client's session \(id) ended before the build did"
        case .notServed(let method) where method == TunneledSession.diffCopy: "no local sources enabled"
        case .notServed(let method): "the client does not serve \(method)"
        case .refused(let message): message
        case .secretTooLarge(let id, let bytes):
            "secret \(id) has \(bytes) bytes; at most \(TunneledSession.secretBytesMax) are allowed"
        case .badAnswer(let method, let reason): "the client's answer to \(method) makes no sense: \(reason)"
        }
    }
}
