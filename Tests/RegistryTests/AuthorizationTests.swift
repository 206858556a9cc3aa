import Foundation
import OCI
import Registry
import RegistryFixtures
import Synchronization
import Testing

@Suite struct AuthorizationTests {
    /// A registry that wants a bearer token from its own token server.
    private static func tokenRegistry() async throws -> (server: LoopbackHTTPServer, body: [UInt8]) {
        let body = Array("private".utf8)
        let realm = Mutex("")
        let server = try await LoopbackHTTPServer.start { request in
            if request.target.hasPrefix("/token") { return Self.token(request) }
            guard request.header("Authorization") == "Bearer good" else {
                let challenge =
                    #"Bearer realm="\#(realm.withLock { $0 })",service="reg, istry",scope="repository:app:pull""#
                return LoopbackHTTPServer.Response(
                    401, headers: [("WWW-Authenticate", challenge), ("Content-Type", "application/json")],
                    body: Array(#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#.utf8))
            }
            return LoopbackHTTPServer.Response(200, body: Array("private".utf8))
        }
        realm.withLock { $0 = "http://\(server.host)/token" }
        return (server, body)
    }

    private static func token(_ request: LoopbackHTTPServer.Request) -> LoopbackHTTPServer.Response {
        let basic = "Basic " + Data("me:secret".utf8).base64EncodedString()
        let form = String(decoding: request.body, as: UTF8.self)
        let isGet = request.method == "GET" && request.header("Authorization") == basic
        let isPost =
            request.method == "POST" && form.contains("refresh_token=id%2Ftoken")
            && form.contains("grant_type=refresh_token")
        guard isGet || isPost else {
            return LoopbackHTTPServer.Response(
                401, headers: [("Content-Type", "text/plain")], body: Array("wrong password".utf8))
        }
        let name = isGet ? "token" : "access_token"
        return LoopbackHTTPServer.Response(200, body: Array(#"{"\#(name)":"good","expires_in":300}"#.utf8))
    }

    @Test(arguments: [RegistryLogin(username: "me", secret: "secret"), RegistryLogin(username: "", secret: "id/token")])
    func `a token is fetched once a scope and used for every request`(login: RegistryLogin) async throws {
        let (server, body) = try await Self.tokenRegistry()
        let client = RegistryFixture.client()
        let asked = Mutex<[String]>([])
        let credentials = ClosureCredentials { host in
            asked.withLock { $0.append(host) }
            return login
        }
        let repository = client.repository(of: try Reference(parsing: "\(server.host)/app:1"), credentials: credentials)
        for _ in 0..<3 { #expect(try await repository.readBlob(RegistryFixture.blob(body)) == body) }
        let tokens = server.requests.filter { $0.target.hasPrefix("/token") }
        #expect(tokens.count == 1)
        #expect(asked.withLock { $0 } == [server.host])
        if !login.username.isEmpty {
            #expect(tokens.first?.target.contains("service=reg%2C%20istry") == true)
            #expect(tokens.first?.target.contains("scope=repository%3Aapp%3Apull") == true)
        }
        try await client.shutdown()
        try await server.stop()
    }

    @Test func `a refused login is told with the token server's words and the remedy`() async throws {
        let (server, body) = try await Self.tokenRegistry()
        let client = RegistryFixture.client()
        let credentials = ClosureCredentials { _ in RegistryLogin(username: "me", secret: "wrong") }
        let repository = client.repository(of: try Reference(parsing: "\(server.host)/app:1"), credentials: credentials)
        let error = await #expect(throws: RegistryError.self) {
            try await repository.readBlob(RegistryFixture.blob(body))
        }
        #expect(error?.kind == .unauthorized)
        #expect(error?.description.contains("answered 401: wrong password") == true)
        #expect(error?.description.contains("docker login \(server.host)") == true)
        try await client.shutdown()
        try await server.stop()
    }

    @Test func `a challenge of an unknown kind is sent no login`() async throws {
        let server = try await LoopbackHTTPServer.start { _ in
            LoopbackHTTPServer.Response(401, headers: [("WWW-Authenticate", "Digest realm=x")])
        }
        let client = RegistryFixture.client()
        let repository = client.repository(
            of: try Reference(parsing: "\(server.host)/app:1"),
            credentials: ClosureCredentials { _ in RegistryLogin(username: "me", secret: "secret") })
        let error = await #expect(throws: RegistryError.self) { try await repository.resolve() }
        #expect(error?.kind == .unauthorized)
        #expect(server.requests.allSatisfy { $0.header("Authorization") == nil })
        try await client.shutdown()
        try await server.stop()
    }

    @Test(.enabled(if: DockerRegistry.canAuthenticate, "htpasswd is not installed"))
    func `a real registry with Basic authentication accepts the right password only`() async throws {
        let registry = try await DockerRegistry.start(user: "me", password: "secret")
        defer { registry.stop() }
        let client = RegistryFixture.client()
        let reference = try Reference(parsing: "\(registry.host)/app:1")
        let bytes = Array("x".utf8)
        for (secret, isRight) in [("secret", true), ("wrong", false)] {
            let credentials = ClosureCredentials { _ in RegistryLogin(username: "me", secret: secret) }
            let repository = client.repository(of: reference, credentials: credentials)
            if isRight {
                try await repository.upload(RegistryFixture.blob(bytes)) { BlobSource(bytes) }
            } else {
                await #expect(throws: RegistryError.self) { try await repository.readBlob(RegistryFixture.blob(bytes)) }
            }
        }
        try await client.shutdown()
    }
}
