internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore
internal import NIOCore
internal import NIOPosix

/// Forwards connections to the user's SSH agents (`SSH.ForwardAgent`).
struct AgentService: Moby_Sshforward_V1_SSH.ServiceProtocol {
    /// Sockets by id; `default` is what a step without an id gets.
    let agents: [String: String]

    private func socket(_ id: String) throws -> String {
        let name = id.isEmpty ? "default" : id
        guard let path = agents[name] else {
            throw RPCError(code: .notFound, message: "no SSH agent \(name); give one with --ssh \(name)")
        }
        return path
    }

    func checkAgent(
        request: ServerRequest<Moby_Sshforward_V1_CheckAgentRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Sshforward_V1_CheckAgentResponse> {
        _ = try socket(request.message.id)
        return ServerResponse(message: Moby_Sshforward_V1_CheckAgentResponse())
    }

    func forwardAgent(
        request: StreamingServerRequest<Moby_Sshforward_V1_BytesMessage>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Sshforward_V1_BytesMessage> {
        let path = try socket(request.metadata.values("buildkit.ssh.id").first ?? "")
        return StreamingServerResponse { writer in
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(unixDomainSocketPath: path) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                    }
                }
            try await channel.executeThenClose { inbound, outbound in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for try await message in request.messages {
                            try await outbound.write(ByteBuffer(bytes: message.data))
                        }
                        // The step has closed its end; an agent answers nothing any more.
                        try? await channel.channel.close()
                    }
                    for try await buffer in inbound {
                        var message = Moby_Sshforward_V1_BytesMessage()
                        message.data = Data(buffer.readableBytesView)
                        try await writer.write(message)
                    }
                    group.cancelAll()
                }
            }
            return [:]
        }
    }
}
