internal import Foundation

/// Registry logins as the Docker CLI keeps them: `config.json` with `auths`, `credHelpers` and `credsStore`.
package struct DockerConfig: Sendable, Hashable {
    package struct Login: Sendable, Hashable {
        /// Empty when `secret` is an identity token.
        package var username: String
        package var secret: String

        package init(username: String, secret: String) {
            self.username = username
            self.secret = secret
        }
    }

    private struct File: Decodable {
        var auths: [String: Entry]?
        var credHelpers: [String: String]?
        var credsStore: String?
    }

    private struct Entry: Decodable, Hashable {
        var auth: String?
        var username: String?
        var password: String?
        var identitytoken: String?
    }

    private struct HelperAnswer: Decodable {
        var Username: String
        var Secret: String
    }

    /// The user name with which helpers mark an identity token.
    private static let tokenUser = "<token>"
    private static let hubHosts: Set<String> = ["docker.io", "index.docker.io", "registry-1.docker.io"]
    private static let hubKey = "https://index.docker.io/v1/"

    private var logins: [String: Login] = [:]
    private var helpers: [String: String] = [:]
    private var store: String?

    /// No logins.
    package init() {}

    /// Reads `config.json` in `directory`; a missing file means no logins.
    package init(directory: String) throws(DockerConfigError) {
        let path = directory + "/config.json"
        guard let data = FileManager.default.contents(atPath: path) else {
            self.init()
            return
        }
        try self.init(json: Array(data), path: path)
    }

    package init(json: [UInt8], path: String) throws(DockerConfigError) {
        let file: File
        do { file = try JSONDecoder().decode(File.self, from: Data(json)) } catch {
            throw .malformed(path: path, reason: "\(error)")
        }
        store = file.credsStore.flatMap { $0.isEmpty ? nil : $0 }
        helpers = file.credHelpers ?? [:]
        for (key, entry) in file.auths ?? [:] {
            if let login = try Self.login(entry, key: key, path: path) { logins[Self.host(of: key)] = login }
        }
    }

    private static func login(_ entry: Entry, key: String, path: String) throws(DockerConfigError) -> Login? {
        if let token = entry.identitytoken, !token.isEmpty { return Login(username: "", secret: token) }
        if let auth = entry.auth, !auth.isEmpty {
            guard let data = Data(base64Encoded: auth) else {
                throw .malformed(path: path, reason: "auths[\"\(key)\"].auth is not base64")
            }
            let text = String(decoding: data.prefix { $0 != 0 }, as: UTF8.self)
            guard let colon = text.firstIndex(of: ":") else {
                throw .malformed(path: path, reason: "auths[\"\(key)\"].auth is not the base64 of USER:PASSWORD")
            }
            return Login(username: String(text[..<colon]), secret: String(text[text.index(after: colon)...]))
        }
        guard let username = entry.username, let password = entry.password else { return nil }
        return Login(username: username, secret: password)
    }

    /// Host names as keys carry a scheme and path at times.
    private static func host(of key: String) -> String {
        var text = key[...]
        for scheme in ["https://", "http://"] where text.hasPrefix(scheme) { text = text.dropFirst(scheme.count) }
        let host = String(text.prefix { $0 != "/" })
        return hubHosts.contains(host) ? "docker.io" : host
    }

    /// The login for a registry host; nil for anonymous access.
    ///
    /// May run a credential helper.
    package func login(forHost host: String) async throws(DockerConfigError) -> Login? {
        let name = Self.host(of: host)
        let server = name == "docker.io" ? Self.hubKey : name
        let helper = helpers.first { Self.host(of: $0.key) == name }?.value ?? store
        if let helper, let login = try await Self.ask(helper, server) { return login }
        return logins[name]
    }

    /// Runs `docker-credential-NAME get`; nil when it knows no login for the server.
    private static func ask(_ helper: String, _ server: String) async throws(DockerConfigError) -> Login? {
        guard helper.utf8.allSatisfy({ $0 != UInt8(ascii: "/") && $0 != 0 }) else {
            throw .helperFailed(helper, reason: "its name is not that of a program in PATH")
        }
        let program = "docker-credential-\(helper)"
        let output: ChildProcess.Output
        do {
            output = try await ChildProcess.run(program, ["get"], input: Array(server.utf8))
        } catch {
            throw .helperFailed(program, reason: "\(error)")
        }
        guard output.status == 0 else {
            let text = String(decoding: output.bytes, as: UTF8.self)
            if text.contains("credentials not found") { return nil }
            throw .helperFailed(program, reason: text.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        guard let answer = try? JSONDecoder().decode(HelperAnswer.self, from: Data(output.bytes)) else {
            throw .helperFailed(program, reason: "its answer is not JSON with Username and Secret")
        }
        return Login(username: answer.Username == tokenUser ? "" : answer.Username, secret: answer.Secret)
    }
}

/// Why logins can't be read.
package enum DockerConfigError: Error, Hashable, CustomStringConvertible {
    case malformed(path: String, reason: String)
    case helperFailed(String, reason: String)

    package var description: String {
        switch self {
        case .malformed(let path, let reason): "\(path): \(reason)"
        case .helperFailed(let program, let reason): "credential helper \(program): \(reason)"
        }
    }
}
