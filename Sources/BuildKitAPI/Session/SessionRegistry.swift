internal import BuildSession
internal import GRPCCore

/// The open session tunnels of this node by the id that the client chose.
final class SessionRegistry: Sendable {
    /// How long a build waits for the session that it names.
    static let patience = Duration.seconds(5)

    private let sessions = Arrivals<TunneledSession>()

    /// Makes a session known; an id that is in use is refused.
    func register(_ session: TunneledSession) throws(RPCError) {
        guard sessions.insert(session, named: session.id) else {
            throw RPCError(code: .alreadyExists, message: "session \(session.id) is open already")
        }
    }

    func remove(_ session: TunneledSession) { sessions.remove(session, named: session.id) }

    /// The session of that id, waiting for it for a while; one that never came answers every call with an error.
    func session(_ id: String) async throws -> any ClientSession {
        try await sessions.value(named: id, within: Self.patience) ?? MissingSession(id: id)
    }
}
