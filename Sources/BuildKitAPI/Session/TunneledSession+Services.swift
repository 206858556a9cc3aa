internal import BuildKitProtocol
internal import BuildSession
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf

/// The small services: secrets, credentials, agents and uploads.
extension TunneledSession {
    func secret(_ id: String) async throws -> [UInt8]? {
        do {
            let answer: Moby_Buildkit_Secrets_V1_GetSecretResponse = try await call(
                Moby_Buildkit_Secrets_V1_Secrets.Method.GetSecret.descriptor,
                Moby_Buildkit_Secrets_V1_GetSecretRequest.with { $0.id = id })
            guard answer.data.count <= Self.secretBytesMax else {
                throw SessionError.secretTooLarge(id: id, bytes: answer.data.count)
            }
            return Array(answer.data)
        } catch let error as RPCError where error.code == .notFound || error.code == .unimplemented {
            return nil
        } catch {
            throw meaning(of: error)
        }
    }

    func credentials(forHost host: String) async throws -> RegistryCredentials? {
        guard serves("/moby.filesync.v1.Auth/Credentials") else { return nil }
        do {
            let answer: Moby_Filesync_V1_CredentialsResponse = try await call(
                Moby_Filesync_V1_Auth.Method.Credentials.descriptor,
                Moby_Filesync_V1_CredentialsRequest.with { $0.host = host }, timeout: Self.credentialsPatience)
            guard !answer.username.isEmpty || !answer.secret.isEmpty else { return nil }
            return RegistryCredentials(username: answer.username, secret: answer.secret)
        } catch let error as RPCError where error.code == .unimplemented {
            return nil
        } catch {
            throw meaning(of: error)
        }
    }

    func hasSSHAgent(_ id: String) async throws -> Bool {
        guard serves("/moby.sshforward.v1.SSH/CheckAgent") else { return false }
        do {
            let _: Moby_Sshforward_V1_CheckAgentResponse = try await call(
                Moby_Sshforward_V1_SSH.Method.CheckAgent.descriptor,
                Moby_Sshforward_V1_CheckAgentRequest.with { $0.id = id })
            return true
        } catch is RPCError {
            // Any answer but yes means that the client does not expose the agent; a lost client is another matter.
            if case let error as SessionError = meaning(of: CancellationError()) { throw error }
            return false
        }
    }

    func connectSSHAgent(_ id: String) async throws -> any ByteDuplex {
        let connection = AgentConnection()
        runInBackground { [self] in await connection.run(agent: id, on: self) }
        return connection
    }

    func openUpload(path: String, _ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws {
        do {
            try await DuplexCall<Moby_Upload_V1_BytesMessage, Moby_Upload_V1_BytesMessage>.run(
                Moby_Upload_V1_Upload.Method.Pull.descriptor, on: self,
                metadata: ["urlpath": .string(path), "urlhost": "buildkit-session"]
            ) { call in
                while let message = try await call.receive() { try await body(Array(message.data)) }
            }
        } catch {
            throw meaning(of: error)
        }
    }
}
