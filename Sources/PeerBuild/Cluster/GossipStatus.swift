internal import BuildKitProtocol

/// The `gossip` object of `status --format json`: counters by level, and what is not a number beside them.
struct GossipStatus: Codable, Hashable {
    /// A counter, or a level of them.
    enum Node: Codable, Hashable {
        case count(UInt64)
        case level([String: Node])

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let count = try? container.decode(UInt64.self) {
                self = .count(count)
            } else {
                self = .level(try container.decode([String: Node].self))
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .count(let count): try container.encode(count)
            case .level(let nodes): try container.encode(nodes)
            }
        }
    }

    struct Seed: Codable, Hashable {
        var name: String
        var addresses: [String]
        /// Empty when it resolves.
        var error: String
    }

    var counters: [String: Node] = [:]
    var seeds: [Seed] = []
    var keys: [StatusReport.Key] = []
    var warnings: [String] = []

    init() {}

    init(_ message: Peerbuild_V1_Gossip) {
        for (name, count) in message.counters { Self.put(count, at: name.split(separator: ".")[...], into: &counters) }
        seeds = message.seeds.map { Seed(name: $0.name, addresses: $0.addresses, error: $0.error) }
        keys = message.keys.map(StatusReport.Key.init)
        warnings = message.warnings
    }

    /// Adds a counter whose name's dots are levels.
    static func put(_ count: UInt64, at path: ArraySlice<Substring>, into level: inout [String: Node]) {
        guard let first = path.first.map(String.init) else { return }
        guard path.count > 1 else {
            level[first] = .count(count)
            return
        }
        var inner: [String: Node] = [:]
        if case .level(let known) = level[first] { inner = known }
        put(count, at: path.dropFirst(), into: &inner)
        level[first] = .level(inner)
    }

    /// The counters beside the other members of the object, not one level below.
    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(_ text: String) { stringValue = text }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Name.self)
        for (name, node) in counters { try container.encode(node, forKey: Name(name)) }
        try container.encode(seeds, forKey: Name("seeds"))
        try container.encode(keys, forKey: Name("keyring"))
        try container.encode(warnings, forKey: Name("warnings"))
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Name.self)
        for name in container.allKeys {
            switch name.stringValue {
            case "seeds": seeds = try container.decode([Seed].self, forKey: name)
            case "keyring": keys = try container.decode([StatusReport.Key].self, forKey: name)
            case "warnings": warnings = try container.decode([String].self, forKey: name)
            default: counters[name.stringValue] = try container.decode(Node.self, forKey: name)
            }
        }
    }
}
