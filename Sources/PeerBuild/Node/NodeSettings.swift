/// Raw values from one origin, before they are checked.
struct NodeSettings: Sendable {
    /// What can be set; the raw value names the flag.
    enum Key: String, CaseIterable, Sendable {
        case name, root, addr, bind, advertise, join, slots, label, platform, insecure, runtime, mdns
        case clusterKeyFile = "cluster-key-file"
        case clusterName = "cluster-name"
        case logLevel = "log-level"
        case logFormat = "log-format"
        case authority = "tlscacert"
        case certificate = "tlscert"
        case key = "tlskey"
        case entitlement = "allow-insecure-entitlement"
        case cacheBytesMax = "cache-max"
        case noNewPrivileges = "no-new-privileges"
        case mapBudget = "map-budget"
        case packetLimit = "packet-limit"
        case keyGrace = "key-grace"
        case rateLimit = "transfer-rate-limit"
        case servingMax = "transfer-max-serving"

        /// The environment variable that sets it; lists are comma separated.
        var variable: String {
            switch self {
            case .name: "PEERBUILD_NODE_NAME"
            default: "PEERBUILD_" + rawValue.uppercased().replacing("-", with: "_")
            }
        }

        var isList: Bool {
            switch self {
            case .addr, .advertise, .join, .label, .platform, .entitlement: true
            default: false
            }
        }
    }

    /// One value with where it came from, such as `--slots` or `node.toml:12: cluster.slots`.
    struct Value: Sendable, Hashable {
        var texts: [String]
        var origin: String
    }

    var values: [Key: Value] = [:]
    var registries: [String: RegistrySettings] = [:]

    /// What the environment says.
    init(environment: [String: String]) {
        for key in Key.allCases {
            guard let text = environment[key.variable], !text.isEmpty else { continue }
            let texts = key.isList ? text.split(separator: ",").map(String.init) : [text]
            values[key] = Value(texts: texts, origin: key.variable)
        }
    }

    init() {}

    mutating func set(_ key: Key, _ texts: [String], origin: String) {
        guard !texts.isEmpty else { return }
        values[key] = Value(texts: texts, origin: origin)
    }

    /// These settings where they say something, else those of `other`.
    func overriding(_ other: NodeSettings) -> NodeSettings {
        var merged = other
        merged.values.merge(values) { $1 }
        merged.registries.merge(registries) { $1 }
        return merged
    }
}
