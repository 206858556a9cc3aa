internal import BuildKitProtocol
internal import GRPCCore

/// Hands registry logins to the node that pulls or pushes (`Auth.Credentials`).
///
/// Token exchange is left to the node: only `Credentials` is announced.
struct CredentialService: Moby_Filesync_V1_Auth.SimpleServiceProtocol {
    let config: DockerConfig

    func credentials(
        request: Moby_Filesync_V1_CredentialsRequest, context: ServerContext
    ) async throws -> Moby_Filesync_V1_CredentialsResponse {
        var response = Moby_Filesync_V1_CredentialsResponse()
        do throws(DockerConfigError) {
            guard let login = try await config.login(forHost: request.host) else { return response }
            response.username = login.username
            response.secret = login.secret
        } catch {
            throw RPCError(code: .unknown, message: error.description)
        }
        return response
    }

    func fetchToken(
        request: Moby_Filesync_V1_FetchTokenRequest, context: ServerContext
    ) async throws -> Moby_Filesync_V1_FetchTokenResponse { throw Self.notOffered }

    func getTokenAuthority(
        request: Moby_Filesync_V1_GetTokenAuthorityRequest, context: ServerContext
    ) async throws -> Moby_Filesync_V1_GetTokenAuthorityResponse { throw Self.notOffered }

    func verifyTokenAuthority(
        request: Moby_Filesync_V1_VerifyTokenAuthorityRequest, context: ServerContext
    ) async throws -> Moby_Filesync_V1_VerifyTokenAuthorityResponse { throw Self.notOffered }

    private static var notOffered: RPCError {
        RPCError(code: .unimplemented, message: "this client hands out credentials, not tokens")
    }
}
