internal import BuildClient
internal import Foundation
internal import Testing

@Suite struct DockerConfigTests {
    private static func config(_ json: String) throws -> DockerConfig {
        try DockerConfig(json: Array(json.utf8), path: "config.json")
    }

    @Test func `logins are found by host, with and without scheme, and for the hub by all its names`() async throws {
        let auth = Data("user:pa:ss".utf8).base64EncodedString()
        let config = try Self.config(
            """
            {"auths": {"https://index.docker.io/v1/": {"auth": "\(auth)"}, "https://r.example/v2/": {"auth": "\(auth)"},
             "token.example:5000": {"identitytoken": "tok"}, "empty.example": {}}, "HttpHeaders": {"x": "y"}}
            """)
        for host in ["registry-1.docker.io", "docker.io", "r.example"] {
            #expect(try await config.login(forHost: host) == .init(username: "user", secret: "pa:ss"))
        }
        #expect(try await config.login(forHost: "token.example:5000") == .init(username: "", secret: "tok"))
        #expect(try await config.login(forHost: "empty.example") == nil)
        #expect(try await config.login(forHost: "token.example") == nil)
    }

    @Test(arguments: ["{", #"{"auths": {"r": {"auth": "%%%"}}}"#, #"{"auths": {"r": {"auth": "bm9jb2xvbg=="}}}"#])
    func `a file that can't be read is named`(json: String) {
        let error = #expect(throws: DockerConfigError.self) { try Self.config(json) }
        #expect(error?.description.hasPrefix("config.json: ") == true)
    }

    @Test func `a missing file means no logins`() async throws {
        #expect(try await DockerConfig(directory: "/no/such/directory").login(forHost: "r") == nil)
    }

    @Test func `a helper that does not exist is an error that names it`() async throws {
        let config = try Self.config(#"{"credHelpers": {"r.example": "no-such-helper-here"}}"#)
        let error = await #expect(throws: DockerConfigError.self) { _ = try await config.login(forHost: "r.example") }
        #expect(error?.description.contains("docker-credential-no-such-helper-here") == true)
    }
}
