internal import BuildKitProtocol
internal import GRPCCore

/// Containers that a client runs by hand (debuggers). Nothing advertises them, so that clients don't ask.
extension GatewayService {
    private static var unsupported: RPCError {
        RPCError(code: .unimplemented, message: "this node runs no containers outside builds")
    }

    func newContainer(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_NewContainerRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_NewContainerResponse> {
        throw Self.unsupported
    }

    func releaseContainer(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ReleaseContainerRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReleaseContainerResponse> {
        throw Self.unsupported
    }

    func execProcess(
        request: StreamingServerRequest<Moby_Buildkit_V1_Frontend_ExecMessage>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Buildkit_V1_Frontend_ExecMessage> {
        throw Self.unsupported
    }

    func readFileContainer(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadFileRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadFileResponse> {
        throw Self.unsupported
    }

    func readDirContainer(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadDirRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadDirResponse> {
        throw Self.unsupported
    }

    func statFileContainer(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_StatFileRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_StatFileResponse> {
        throw Self.unsupported
    }
}
