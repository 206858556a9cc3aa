/// What an operator says about one registry host (`[registry."HOST"]` of buildkitd.toml).
package struct RegistryHostConfiguration: Sendable, Hashable {
    /// Speak HTTP without TLS; nil allows that only for this machine's own addresses.
    package var http: Bool?
    /// Accept any TLS certificate.
    package var insecure: Bool
    /// Hosts that are asked before the registry itself when pulling; `host[:port][/path]`, optionally with a scheme.
    package var mirrors: [String]
    /// Paths of PEM files with certificate authorities, in addition to the system's.
    package var ca: [String]
    /// Certificates to show to a registry that asks for one.
    package var keyPairs: [KeyPair]

    /// A client certificate and its key: paths of PEM files.
    package struct KeyPair: Sendable, Hashable {
        package var key: String
        package var certificate: String

        package init(key: String, certificate: String) {
            self.key = key
            self.certificate = certificate
        }
    }

    package init(
        http: Bool? = nil, insecure: Bool = false, mirrors: [String] = [], ca: [String] = [], keyPairs: [KeyPair] = []
    ) {
        self.http = http
        self.insecure = insecure
        self.mirrors = mirrors
        self.ca = ca
        self.keyPairs = keyPairs
    }
}

/// How registries are spoken to: per host settings and the limits of every request.
package struct RegistryConfiguration: Sendable {
    /// By host as it stands in references, such as `docker.io` or `registry.local:5000`.
    package var hosts: [String: RegistryHostConfiguration]
    /// Tries of a request that fails for a passing reason; at least 1.
    package var attemptsMax: Int
    /// Wait before the second try; it doubles with each further one.
    package var retryDelay: Duration
    /// How long a connection may take to open.
    package var connectTimeout: Duration
    /// How long a registry may be silent within an answer.
    package var readTimeout: Duration

    package init(hosts: [String: RegistryHostConfiguration] = [:]) {
        self.hosts = hosts
        attemptsMax = 4
        retryDelay = .milliseconds(250)
        connectTimeout = .seconds(15)
        readTimeout = .seconds(60)
    }
}
