internal import ArgumentParser
internal import Foundation
internal import Glibc

/// `peerbuild node`.
struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "Runs a node until it is interrupted.",
        discussion: """
            Every setting can also come from the environment (PEERBUILD_JOIN, PEERBUILD_SLOTS, ...; \
            PEERBUILD_NODE_NAME for the name) or from the file given with --config. \
            Flags win over the environment, the environment over the file.
            """)

    @Option(help: "Name in the cluster; the host's name by default.") var name: String?
    @Option(help: "Directory for all state (default \(NodeConfiguration.defaultRoot)).") var root: String?
    @Option(help: "Client API: unix:///PATH or tcp://HOST:PORT; may be repeated.") var addr: [String] = []
    @Option(help: "HOST:PORT of gossip and peer links (default port 7946).") var bind: String?
    @Option(help: "HOST:PORT that other nodes reach this one at; up to 3, the best first.") var advertise: [String] = []
    @Option(help: "HOST:PORT of a node of the cluster, or a DNS name with SRV records; may be repeated.")
    var join: [String] = []
    @Flag(help: "Finds nodes on this link by multicast DNS, and is found; they still need the cluster's key.")
    var mdns = false
    @Option(help: "How long a retired cluster key still opens, such as 24h (the default).") var keyGrace: String?
    @Option(help: "File with the cluster's key, mode 0600; see keygen.") var clusterKeyFile: String?
    @Option(help: "Nodes of other cluster names are ignored (default: default).") var clusterName: String?
    @Option(help: "Largest packet of gossip in bytes, 512 to 8900 (default 1200).") var packetLimit: String?
    @Option(help: "Steps that run at the same time; the number of cores by default.") var slots: String?
    @Option(help: "KEY=VALUE that steps may ask for; may be repeated.") var label: [String] = []
    @Option(help: "Platform to run steps for; may be repeated.") var platform: [String] = []
    @Option(help: "TOML file in the shape of buildkitd.toml.") var config: String?
    @Option(help: "trace, debug, info, warn or error.") var logLevel: String?
    @Option(help: "text or json.") var logFormat: String?
    @Option(name: .customLong("tlscacert"), help: "CA that clients' certificates are checked with.")
    var authority: String?
    @Option(name: .customLong("tlscert"), help: "Certificate of the client API.") var certificate: String?
    @Option(name: .customLong("tlskey"), help: "Key of the certificate.") var key: String?
    @Flag(help: "Allows a client API in plain text beyond loopback.") var insecure = false
    @Option(help: "network.host, security.insecure or device; may be repeated.")
    var allowInsecureEntitlement: [String] = []
    @Option(help: "OCI runtime; crun or runc in PATH by default.") var runtime: String?
    @Flag(help: "Keeps set-uid programs in steps, such as sudo, from gaining privileges.")
    var noNewPrivileges = false
    @Option(help: "Most that layers and blobs may take, such as 20GB.") var cacheMax: String?

    func run() async throws {
        try await Self.serve(try resolved(environment: ProcessInfo.processInfo.environment))
    }

    /// Flags over environment over file over defaults, checked as a whole.
    func resolved(environment: [String: String]) throws(NodeConfigurationError) -> NodeConfiguration {
        var file = NodeSettings()
        if let path = config ?? environment["PEERBUILD_CONFIG"] {
            guard let data = FileManager.default.contents(atPath: path) else {
                throw NodeConfigurationError(faults: ["--config: \"\(path)\" can't be read"])
            }
            file = try ConfigurationFile.settings(in: String(decoding: data, as: UTF8.self), path: path)
        }
        let settings = flags.overriding(NodeSettings(environment: environment)).overriding(file)
        return try settings.configuration(hostName: Self.hostName)
    }

    private var flags: NodeSettings {
        var settings = NodeSettings()
        let single: [(NodeSettings.Key, String?)] = [
            (.name, name), (.root, root), (.bind, bind), (.keyGrace, keyGrace), (.clusterKeyFile, clusterKeyFile),
            (.clusterName, clusterName), (.slots, slots), (.logLevel, logLevel), (.logFormat, logFormat),
            (.authority, authority), (.certificate, certificate), (.key, key), (.runtime, runtime),
            (.cacheBytesMax, cacheMax), (.packetLimit, packetLimit), (.insecure, insecure ? "true" : nil),
            (.noNewPrivileges, noNewPrivileges ? "true" : nil), (.mdns, mdns ? "true" : nil),
        ]
        for (key, text) in single { settings.set(key, text.map { [$0] } ?? [], origin: "--\(key.rawValue)") }
        let lists: [(NodeSettings.Key, [String])] = [
            (.addr, addr), (.advertise, advertise), (.join, join), (.label, label), (.platform, platform),
            (.entitlement, allowInsecureEntitlement),
        ]
        for (key, texts) in lists { settings.set(key, texts, origin: "--\(key.rawValue)") }
        return settings
    }

    private static var hostName: String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "node" }
        return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
