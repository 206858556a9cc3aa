internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import PeerRuntime

/// The two streams of a build: its status and its client's session.
extension ControlService {
    /// Everything that happens in a build, from its beginning, until it ends.
    ///
    /// The response begins at once: clients wait for its headers before they do anything else.
    func status(
        request: ServerRequest<Moby_Buildkit_V1_StatusRequest>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Buildkit_V1_StatusResponse> {
        let reference = request.message.ref
        let metadata: Metadata = ["buildkit-current-timestamp": .string(Date().ISO8601Format())]
        return StreamingServerResponse(metadata: metadata) { writer in
            try await cancelledByClient(context, shutdown) {
                let build = try await builds.build(reference, within: BuildRegistry.statusPatience)
                // A build that ended before it began had nothing to show.
                guard let handle = try? await build.handle else { return }
                try await StatusStream.write(handle.events(), to: writer)
            }
            return [:]
        }
    }

    /// The tunnel through which the client offers its files, secrets and agents.
    func session(
        request: StreamingServerRequest<Moby_Buildkit_V1_BytesMessage>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Buildkit_V1_BytesMessage> {
        let headers = request.metadata
        guard let id = headers[stringValues: "x-docker-expose-session-uuid"].first(where: { !$0.isEmpty }) else {
            throw RPCError(code: .invalidArgument, message: "Session needs the header x-docker-expose-session-uuid")
        }
        let session = TunneledSession(
            id: id,
            sharedKey: headers[stringValues: "x-docker-expose-session-sharedkey"].first { _ in true } ?? "",
            methods: headers[stringValues: "x-docker-expose-session-grpc-method"],
            tunnel: try await SessionTunnel.open())
        do { try sessions.register(session) } catch {
            await session.discard()
            throw error
        }
        return StreamingServerResponse { writer in
            defer { sessions.remove(session) }
            try await cancelledByClient(context, shutdown) { await session.run(from: request.messages, to: writer) }
            return [:]
        }
    }
}
