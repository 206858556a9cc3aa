internal import AsyncHTTPClient
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

/// Holds what one user of a repository may show to registries: basic logins and tokens by host and scope.
///
/// It lives as long as the access to a repository, so that no token outlives or crosses the session whose login it
/// came from.
actor Authorizer {
    private enum Access {
        case basic(String)
        case bearer(challenge: AuthChallenge)
    }

    private struct Token {
        var text: String
        var expires: ContinuousClock.Instant
    }

    /// A token is renewed this long before it ends, so that a request under way does not lose it.
    private static let expiryMargin = Duration.seconds(10)
    /// Lifetime of a token whose server names none (distribution's token specification).
    private static let defaultLifetimeSeconds = 60
    private static let tokenAnswerBytesMax = 1 << 20

    private let credentials: any CredentialSource
    private let transport: HTTPTransport
    private var accesses: [String: Access] = [:]
    private var tokens: [String: Token] = [:]

    init(credentials: any CredentialSource, transport: HTTPTransport) {
        self.credentials = credentials
        self.transport = transport
    }

    /// The `Authorization` header for a request, if one is known to be wanted.
    func header(for endpoint: RegistryEndpoint, scopes: [String], subject: String) async throws -> String? {
        switch accesses[endpoint.host] {
        case nil: return nil
        case .basic(let header): return header
        case .bearer(let challenge):
            return "Bearer " + (try await token(challenge, endpoint: endpoint, scopes: scopes, subject: subject))
        }
    }

    /// Prepares for what the registry asked for in a 401; false when it asks for nothing that can be done.
    func answer(
        challenges: [AuthChallenge], from endpoint: RegistryEndpoint, scopes: [String], subject: String
    ) async throws -> Bool {
        if let bearer = challenges.first(where: { $0.scheme == "bearer" && $0.parameters["realm"] != nil }) {
            tokens[Self.key(endpoint, scopes)] = nil
            accesses[endpoint.host] = .bearer(challenge: bearer)
            return true
        }
        guard challenges.contains(where: { $0.scheme == "basic" }),
            let login = try await credentials.login(forHost: endpoint.host), !login.username.isEmpty
        else { return false }
        accesses[endpoint.host] = .basic(Self.basic(login))
        return true
    }

    private static func basic(_ login: RegistryLogin) -> String {
        "Basic " + Data((login.username + ":" + login.secret).utf8).base64EncodedString()
    }

    private static func key(_ endpoint: RegistryEndpoint, _ scopes: [String]) -> String {
        ([endpoint.host] + scopes).joined(separator: " ")
    }

    private func token(
        _ challenge: AuthChallenge, endpoint: RegistryEndpoint, scopes: [String], subject: String
    ) async throws -> String {
        let key = Self.key(endpoint, scopes)
        if let token = tokens[key], token.expires > .now { return token.text }
        let login = try await credentials.login(forHost: endpoint.host)
        let token = try await fetchToken(challenge, endpoint: endpoint, scopes: scopes, login: login, subject: subject)
        tokens[key] = token
        return token.text
    }

    private func fetchToken(
        _ challenge: AuthChallenge, endpoint: RegistryEndpoint, scopes: [String], login: RegistryLogin?, subject: String
    ) async throws -> Token {
        let realm = challenge.parameters["realm"] ?? ""
        let service = challenge.parameters["service"]
        let host = RegistryEndpoint.hostOf(url: realm) ?? realm
        let isSecret = login.map { !$0.secret.isEmpty } ?? false
        guard !isSecret || realm.hasPrefix("https://") || endpoint.isPlainHTTP || RegistryEndpoint.isLoopback(host)
        else {
            throw RegistryError(
                .invalid, subject: subject, host: endpoint.host,
                detail: "its token server \(realm) has no TLS, so the login is not sent there")
        }
        let request: HTTPClientRequest
        if let login, login.username.isEmpty, !login.secret.isEmpty {
            request = Self.refreshRequest(realm: realm, service: service, scopes: scopes, token: login.secret)
        } else {
            request = Self.tokenRequest(realm: realm, service: service, scopes: scopes, login: login)
        }
        let answer = try await transport.exchange(request, endpoint: endpoint, host: host, subject: subject)
        guard answer.status == .ok else {
            throw try await answer.error(subject: subject, host: host)
        }
        let body = try await answer.body(bytesMax: Self.tokenAnswerBytesMax, subject: subject, host: host)
        guard let decoded = try? JSONDecoder().decode(TokenAnswer.self, from: Data(body)),
            let text = decoded.token ?? decoded.access_token, !text.isEmpty
        else {
            throw RegistryError(.invalid, subject: subject, host: host, detail: "no token in the token server's answer")
        }
        let seconds = max(decoded.expires_in ?? 0, Self.defaultLifetimeSeconds)
        return Token(text: text, expires: .now + .seconds(seconds) - Self.expiryMargin)
    }

    /// The answer of a token server; the names are the protocol's.
    private struct TokenAnswer: Decodable {
        var token: String?
        var access_token: String?
        var expires_in: Int?
    }

    private static func tokenRequest(
        realm: String, service: String?, scopes: [String], login: RegistryLogin?
    ) -> HTTPClientRequest {
        var query = service.map { ["service=" + URLText.queryEscaped($0)] } ?? []
        query += scopes.map { "scope=" + URLText.queryEscaped($0) }
        if let login, !login.username.isEmpty { query.append("account=" + URLText.queryEscaped(login.username)) }
        var request = HTTPClientRequest(url: realm + (realm.contains("?") ? "&" : "?") + query.joined(separator: "&"))
        if let login, !login.username.isEmpty { request.headers.add(name: "Authorization", value: basic(login)) }
        return request
    }

    private static func refreshRequest(
        realm: String, service: String?, scopes: [String], token: String
    ) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: realm)
        request.method = .POST
        request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
        let fields = [
            ("grant_type", "refresh_token"), ("service", service ?? ""), ("client_id", "peerbuild"),
            ("scope", scopes.joined(separator: " ")), ("refresh_token", token),
        ]
        let form = fields.map { $0.0 + "=" + URLText.queryEscaped($0.1) }.joined(separator: "&")
        request.body = .bytes(ByteBuffer(string: form))
        return request
    }
}
