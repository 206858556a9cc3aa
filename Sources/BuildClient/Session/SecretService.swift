internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore

/// Hands the build's secrets to the node that needs them (`Secrets.GetSecret`).
struct SecretService: Moby_Buildkit_Secrets_V1_Secrets.SimpleServiceProtocol {
    /// BuildKit's limit for one secret.
    static let bytesMax = 500 * 1_024

    let secrets: [String: BuildRequest.SecretSource]

    func getSecret(
        request: Moby_Buildkit_Secrets_V1_GetSecretRequest, context: ServerContext
    ) async throws -> Moby_Buildkit_Secrets_V1_GetSecretResponse {
        guard let source = secrets[request.id], let data = Self.read(source) else {
            throw RPCError(code: .notFound, message: "secret \(request.id): not found")
        }
        guard data.count <= Self.bytesMax else {
            throw RPCError(
                code: .invalidArgument,
                message: "secret \(request.id) has \(data.count) bytes, more than \(Self.bytesMax)")
        }
        var response = Moby_Buildkit_Secrets_V1_GetSecretResponse()
        response.data = data
        return response
    }

    private static func read(_ source: BuildRequest.SecretSource) -> Data? {
        switch source {
        case .file(let path): FileManager.default.contents(atPath: path)
        case .environment(let name): ProcessInfo.processInfo.environment[name].map { Data($0.utf8) }
        }
    }
}
