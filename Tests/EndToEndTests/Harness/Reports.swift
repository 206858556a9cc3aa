/// `peerbuild status --format json`.
struct ClusterStatus: Decodable, Sendable {
    struct Member: Decodable, Sendable {
        var name: String
        var address: String
        var state: String
        var incarnation: UInt64
        var cacheKeys: Int
        var conditions: [String]
        var loadAgeSeconds: Double
        var cpuBusy: Double
        var memoryFree: Int
        var diskFree: Int
    }

    struct Build: Decodable, Sendable {
        var ref: String
        var home: String
        var running: Int
    }

    struct Counters: Decodable, Sendable {
        var verticesExecuted: Int
        var layerBytesPulled: Int
        var layerBytesServed: Int
        var layerBytesDeduplicated: Int
        var layerBytesResumed: Int
        var layerBytesLeftOut: Int
        var layerBytesPrefetched: Int
        var registryBytesPulled: Int
    }

    /// A link to a peer.
    struct Link: Decodable, Sendable {
        var peer: String
        var bytesIn: Int
        var bytesOut: Int
    }

    /// What gossip has done and met.
    struct Gossip: Decodable, Sendable {
        struct CacheMap: Decodable, Sendable {
            var digestsBehind: Int
        }

        var bootsTaken: Int
        var cacheMap: CacheMap
        var warnings: [String]
    }

    var members: [Member]
    var gossip: Gossip
    var builds: [Build]
    var counters: Counters
    var links: [Link]

    func state(of name: String) -> String? { members.first { $0.name == name }?.state }
    var alive: Set<String> { Set(members.filter { $0.state == "alive" }.map(\.name)) }
}

/// `peerbuild explain --format json`: protobuf's JSON form, which leaves zeros out and has 64-bit numbers as text.
struct BuildExplanation: Decodable, Sendable {
    struct Vertex: Decodable, Sendable {
        var name: String?
        var node: String?
        var outcome: String?
        var attempts: Int?
        var bytesPulled: String?
        var bytesResumed: String?
        var bytesLeftOut: String?
        var bytesPrefetched: String?
        var bytesServed: [String: String]?

        /// Bytes that the node gave for this vertex.
        func served(by node: String) -> Int { bytesServed?[node].flatMap(Int.init) ?? 0 }
    }

    var ref: String?
    var home: String?
    var vertices: [Vertex]?
    var bytesPulled: String?
    var bytesDeduplicated: String?
    var bytesResumed: String?
    var bytesLeftOut: String?
    var registryBytes: String?
    var bytesPrefetched: String?
    var bytesServed: [String: String]?

    var executed: [String] { (vertices ?? []).filter { $0.outcome == "executed" }.compactMap(\.name) }
    var pulledBytes: Int { bytesPulled.flatMap(Int.init) ?? 0 }
    var deduplicated: Int { bytesDeduplicated.flatMap(Int.init) ?? 0 }
    var resumed: Int { bytesResumed.flatMap(Int.init) ?? 0 }
    var leftOut: Int { bytesLeftOut.flatMap(Int.init) ?? 0 }
    var fromRegistries: Int { registryBytes.flatMap(Int.init) ?? 0 }
    var prefetched: Int { bytesPrefetched.flatMap(Int.init) ?? 0 }
    /// By node.
    var served: [String: Int] { (bytesServed ?? [:]).compactMapValues(Int.init) }

    /// The one vertex whose name ends so.
    func vertex(_ suffix: String) throws -> Vertex {
        let found = (vertices ?? []).filter { $0.name?.hasSuffix(suffix) ?? false }
        guard found.count == 1, let vertex = found.first else {
            throw HarnessFailure("\(found.count) vertices end in \"\(suffix)\": \(self)")
        }
        return vertex
    }
}
