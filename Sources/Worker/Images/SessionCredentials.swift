package import BuildSession
package import Registry

/// Registry logins of the client whose build it is; anonymous when no client is behind it.
package struct SessionCredentials: CredentialSource {
    private let session: (any SessionServices)?

    package init(_ session: (any SessionServices)?) { self.session = session }

    package func login(forHost host: String) async throws -> RegistryLogin? {
        guard let found = try await session?.credentials(forHost: host) else { return nil }
        return RegistryLogin(username: found.username, secret: found.secret)
    }
}
