/// User name and password for a registry, or an identity token.
package struct RegistryLogin: Sendable, Hashable {
    /// Empty when `secret` is an identity (refresh) token.
    package var username: String
    package var secret: String

    package init(username: String, secret: String) {
        self.username = username
        self.secret = secret
    }
}

/// Where logins come from; asked only after a registry wanted one.
package protocol CredentialSource: Sendable {
    /// The login for a registry host such as `registry-1.docker.io` or `localhost:5000`; nil is anonymous.
    func login(forHost host: String) async throws -> RegistryLogin?
}

/// Knows no logins: anonymous access everywhere.
package struct AnonymousAccess: CredentialSource {
    package init() {}
    package func login(forHost host: String) async throws -> RegistryLogin? { nil }
}

/// Logins from a closure.
package struct ClosureCredentials: CredentialSource {
    private let ask: @Sendable (_ host: String) async throws -> RegistryLogin?

    package init(_ ask: @escaping @Sendable (_ host: String) async throws -> RegistryLogin?) { self.ask = ask }

    package func login(forHost host: String) async throws -> RegistryLogin? { try await ask(host) }
}
