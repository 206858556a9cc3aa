internal import OCI

/// All that a node is told from outside, checked as a whole.
///
/// Each value comes from its flag, else its environment variable, else the configuration file, else the default here.
struct NodeConfiguration: Sendable, Hashable {
    static let defaultRoot = "/var/lib/peerbuild"
    static let defaultSocket = "unix:///run/peerbuild/peerbuild.sock"
    /// 7946 is the port that users of Serf expect.
    static let defaultBind = "0.0.0.0:7946"
    /// Without a cluster key nothing beyond this machine is served.
    static let defaultBindWithoutKey = "127.0.0.1:7946"
    static let slotsRange = 1...4_096
    static let servingRange = 1...1_024
    /// One longest frame of a peer link a second.
    static let rateLimitMin: Int64 = 64_000

    /// Unique in the cluster.
    var name: String
    /// Where all state is kept; absolute.
    var root = NodeConfiguration.defaultRoot
    /// Client API listeners: `unix:///PATH` or `tcp://HOST:PORT`.
    var addresses: [ListenAddress] = []
    /// HOST:PORT of gossip (UDP) and peer links (TCP).
    var bind = NodeConfiguration.defaultBindWithoutKey
    /// HOST:PORT that other nodes reach this one at, up to 3, the best first; none means what `bind` says.
    var advertise: [String] = []
    static let advertiseMax = 3
    /// Whether nodes on this link are found by multicast DNS.
    var usesMulticastDNS = false
    /// Seconds for which a retired cluster key still opens.
    var keyGraceSeconds: Int?
    /// Longest grace: a week.
    static let keyGraceSecondsMax = 7 * 86_400
    /// HOST:PORT of nodes to join, or DNS names with SRV records.
    var join: [String] = []
    /// File with the base64 of 32 bytes; one key a line, the first one seals.
    var clusterKeyFile: String?
    /// Nodes of different cluster names ignore each other.
    var clusterName = "default"
    /// Largest UDP payload of gossip, sealed, in bytes; nil is the default, 1,200.
    var packetLimit: Int?
    /// What carries one member record with a probe; a jumbo frame without headers.
    static let packetLimitRange: ClosedRange<Int64> = 512...8_900
    /// Steps that run at the same time; nil means one a core.
    var slots: Int?
    /// Bytes a second of content to peers; nil is no limit.
    var rateLimit: Int?
    /// Streams of content that are served to peers at once; nil is the default.
    var servingMax: Int?
    var labels: [String: String] = [:]
    /// Platforms that steps may be run for; empty means the machine's own and what binfmt_misc emulates.
    var platforms: [Platform] = []
    var logLevel = LogLevel.info
    var logFormat = LogFormat.text
    /// TLS of the client API on TCP; all three or none.
    var tls: TLSFiles?
    /// Whether the client API may be served in plain text beyond loopback.
    var isInsecure = false
    /// Keyed by registry host.
    var registries: [String: RegistrySettings] = [:]
    /// Such as `network.host`; what a build may be given if its client allows it too.
    var entitlements: Set<Entitlement> = []
    /// An OCI runtime to run steps with; nil looks for `crun` and `runc` in PATH.
    var runtime: String?
    /// Whether set-uid programs in steps are kept from gaining privileges.
    var forbidsNewPrivileges = false
    /// Bytes of layers and blobs that are kept at most; nil means no limit.
    var cacheBytesMax: Int64?

    /// Bytes of the digest that tells other nodes which results are here.
    var mapBudget = 64_000
    /// A page; and what a peer keeps of one node.
    static let mapBudgetRange: ClosedRange<Int64> = 1_000...4_000_000

    init(name: String) { self.name = name }
}

/// Where a client API listens.
enum ListenAddress: Sendable, Hashable, CustomStringConvertible {
    case unix(path: String)
    case tcp(host: String, port: Int)

    var description: String {
        switch self {
        case .unix(let path): "unix://\(path)"
        case .tcp(let host, let port): host.contains(":") ? "tcp://[\(host)]:\(port)" : "tcp://\(host):\(port)"
        }
    }
}

/// PEM files of a mutual-TLS listener.
struct TLSFiles: Sendable, Hashable {
    var authority: String
    var certificate: String
    var key: String
}

/// What is known about a registry beforehand, as in `buildkitd.toml`.
struct RegistrySettings: Sendable, Hashable {
    /// Plain HTTP is spoken.
    var isHTTP = false
    /// HTTPS without checking the certificate.
    var isInsecure = false
    /// Hosts that are asked first, in order; a path may follow the host.
    var mirrors: [String] = []
    /// PEM files of certificate authorities beside the system's.
    var authorities: [String] = []
}

/// More than a step gets by default.
enum Entitlement: String, Sendable, Hashable, CaseIterable {
    case networkHost = "network.host"
    case securityInsecure = "security.insecure"
    case device
}

enum LogLevel: String, Sendable, Hashable, CaseIterable {
    case trace, debug, info, warn, error
}

enum LogFormat: String, Sendable, Hashable, CaseIterable {
    case text, json
}
