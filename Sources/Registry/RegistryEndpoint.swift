/// Where a repository is reached: one base address, of the registry itself or of a mirror.
struct RegistryEndpoint: Sendable, Hashable {
    /// Host and port that connections go to.
    var host: String
    /// Path of a mirror between `/v2/` and the repository; empty or `a/b`.
    var pathPrefix: String
    var isPlainHTTP: Bool
    /// The host whose content a mirror is asked for; nil for the registry itself.
    var mirrors: String?
    var settings: RegistryHostConfiguration

    /// Docker Hub's API lives at another host than its references name.
    private static let hubHost = "registry-1.docker.io"

    /// Scheme, host and port.
    var origin: String { (isPlainHTTP ? "http://" : "https://") + host }

    /// The address of `path` (such as `manifests/latest`) of a repository.
    func url(repository: String, path: String) -> String {
        let prefix = pathPrefix.isEmpty ? "" : pathPrefix + "/"
        let query = mirrors.map { (path.contains("?") ? "&" : "?") + "ns=" + $0 } ?? ""
        return origin + "/v2/" + prefix + repository + "/" + path + query
    }

    /// The repository name in token scopes.
    func scopeName(repository: String) -> String {
        pathPrefix.isEmpty ? repository : pathPrefix + "/" + repository
    }

    /// The registry that `host` of a reference means.
    static func registry(_ host: String, in configuration: RegistryConfiguration) -> RegistryEndpoint {
        let settings = configuration.hosts[host] ?? RegistryHostConfiguration()
        return RegistryEndpoint(
            host: host == "docker.io" ? hubHost : host, pathPrefix: "",
            isPlainHTTP: settings.http ?? isLoopback(host), mirrors: nil, settings: settings)
    }

    /// The endpoints to pull from, in order: mirrors, then the registry itself.
    static func forPulling(from host: String, in configuration: RegistryConfiguration) -> [RegistryEndpoint] {
        let registry = registry(host, in: configuration)
        return registry.settings.mirrors.map { mirror($0, of: host, in: configuration) } + [registry]
    }

    private static func mirror(
        _ text: String, of host: String, in configuration: RegistryConfiguration
    ) -> RegistryEndpoint {
        var rest = Substring(text)
        var isPlainHTTP: Bool?
        if rest.hasPrefix("http://") {
            isPlainHTTP = true
            rest = rest.dropFirst("http://".count)
        } else if rest.hasPrefix("https://") {
            isPlainHTTP = false
            rest = rest.dropFirst("https://".count)
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let mirrorHost = String(rest[..<slash])
        let path = rest[slash...].split(separator: "/").joined(separator: "/")
        var endpoint = Self.registry(mirrorHost, in: configuration)
        endpoint.pathPrefix = path
        endpoint.isPlainHTTP = isPlainHTTP ?? endpoint.isPlainHTTP
        endpoint.mirrors = host
        return endpoint
    }

    /// Whether `host[:port]` is this machine: `localhost`, 127.0.0.0/8 or ::1.
    static func isLoopback(_ host: String) -> Bool {
        if host == "[::1]" || host.hasPrefix("[::1]:") { return true }
        let name = host.split(separator: ":", maxSplits: 1).first.map(String.init) ?? ""
        if name == "localhost" { return true }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}
