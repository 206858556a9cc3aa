package import ClusterModel

/// What `peerbuild status`, `explain`, `drain` and `leave` ask of a node; `BuildKitAPI` serves it as
/// `peerbuild.v1.Cluster`, `Node` implements it.
package protocol ClusterView: Sendable {
    func members() async -> [MemberView]
    func builds() async -> [BuildView]
    func counters() async -> NodeCounters
    func gossip() async -> GossipView
    func links() async -> LinksView
    /// Changes the cluster keys here and at all live members; returns the ring once they all have the change.
    func changeKeys(_ change: KeyChange) async throws -> [KeyView]
    /// What happened in a build of this node; nil when it is not known here. Without a reference: the last one.
    func report(ofBuild reference: String?) async -> BuildReport?
    /// Takes a node out of service for new work, or back in. Throws when no member has that name.
    func setDraining(node: String, _ draining: Bool) async throws
    /// Tells the cluster good-bye and stops this node.
    func leave() async
}

/// One member as this node sees it.
package struct MemberView: Sendable, Hashable {
    package var name: String
    package var id: String
    package var address: String
    /// `alive`, `suspect`, `left` or `dead`.
    package var state: String
    package var incarnation: UInt64
    package var slots: Int
    package var running: Int
    package var queued: Int
    package var labels: [String: String]
    package var platforms: [String]
    package var cacheKeys: Int
    package var cacheBytes: Int64
    package var version: String
    package var isSelf: Bool
    /// Seconds since the member wrote the load that is shown; nil before the first.
    package var loadAgeSeconds: Double?
    package var alternatives: [String] = []
    /// Such as `stalled` or `udp-blocked`.
    package var conditions: [String] = []
    /// Share of its processors' time that is used, 0 to 1.
    package var cpuBusy = 0.0
    /// Bytes of memory that processes there could still get; 0 when not known.
    package var memoryFree: UInt64 = 0
    /// Bytes that the file system of its root directory still takes; 0 when not known.
    package var diskFree: UInt64 = 0

    package init(name: String, id: String, address: String, state: String) {
        self.name = name
        self.id = id
        self.address = address
        self.state = state
        incarnation = 0
        slots = 0
        running = 0
        queued = 0
        labels = [:]
        platforms = []
        cacheKeys = 0
        cacheBytes = 0
        version = ""
        isSelf = false
    }
}

/// What gossip has done and met on a node.
package struct GossipView: Sendable, Hashable {
    /// Dots in the names are levels.
    package var counters: [String: UInt64] = [:]
    package var seeds: [SeedView] = []
    package var keys: [KeyView] = []
    /// What an operator should look at, in words.
    package var warnings: [String] = []

    package init() {}
}

/// What the links to peers have done and are.
package struct LinksView: Sendable, Hashable {
    /// Dots in the names are levels.
    package var counters: [String: UInt64] = [:]
    package var links: [Link] = []

    package init() {}

    /// One link, since it was made.
    package struct Link: Sendable, Hashable {
        package var peer: String
        package var address: String
        package var isDialer: Bool
        package var cipher: String
        package var ageSeconds: Double
        package var openStreams: Int
        /// Of sealed records.
        package var bytesOut: UInt64
        package var bytesIn: UInt64
    }
}

/// One way to other nodes, as it was given, and what came of it last.
package struct SeedView: Sendable, Hashable {
    package var name: String
    package var addresses: [String]
    package var error: String?

    package init(name: String, addresses: [String] = [], error: String? = nil) {
        self.name = name
        self.addresses = addresses
        self.error = error
    }
}

/// A cluster key without its secret.
package struct KeyView: Sendable, Hashable {
    package enum State: String, Sendable { case seals, opens, retired }

    package var fingerprint: String
    package var state: State
    package var generation: UInt64
    /// Unix seconds.
    package var retiredUntil: UInt64?

    package init(fingerprint: String, state: State, generation: UInt64, retiredUntil: UInt64?) {
        self.fingerprint = fingerprint
        self.state = state
        self.generation = generation
        self.retiredUntil = retiredUntil
    }
}

/// What to do with the cluster keys.
package enum KeyChange: Sendable {
    case list
    /// Base64 of 32 bytes: opens from now on.
    case install(String)
    /// The key whose fingerprint begins so seals from now on.
    case use(String)
    case remove(String)
    /// A new key seals, all others are retired.
    case rotate
}

/// A build that runs now.
package struct BuildView: Sendable, Hashable {
    package var reference: String
    package var home: String
    package var vertices: Int
    package var completed: Int
    package var cached: Int
    package var running: Int
    /// Nanoseconds since 1970.
    package var started: Int64

    package init(reference: String, home: String, started: Int64) {
        self.reference = reference
        self.home = home
        self.started = started
        vertices = 0
        completed = 0
        cached = 0
        running = 0
    }
}

/// Counts since the node started.
package struct NodeCounters: Sendable, Hashable {
    package var verticesExecuted: UInt64 = 0
    /// Bytes of content that came from other nodes.
    package var layerBytesPulled: UInt64 = 0
    /// Bytes of content that went to other nodes.
    package var layerBytesServed: UInt64 = 0
    /// Bytes of images that this node had from registries.
    package var registryBytesPulled: UInt64 = 0
    /// Bytes of pulled layers that other layers of this node had.
    package var layerBytesDeduplicated: UInt64 = 0
    /// Bytes of pulled layers that a pull, cut off before, had brought.
    package var layerBytesResumed: UInt64 = 0
    /// Bytes of pulled layers that nothing here reads, and that stayed where they were.
    package var layerBytesLeftOut: UInt64 = 0
    /// Of `layerBytesPulled`: what came before a step waited for it.
    package var layerBytesPrefetched: UInt64 = 0
    package var bloomHits: UInt64 = 0
    package var bloomHitsDenied: UInt64 = 0

    package init() {}
}

/// Where each vertex of a build ran and why.
package struct BuildReport: Sendable, Hashable {
    package var reference: String
    package var home: String
    package var vertices: [Vertex]
    /// What the export moved to the home node.
    package var exportMoved = MovedBytes()
    /// Names of the nodes that served bytes.
    package var servers: [PeerID: String] = [:]

    /// What all vertices and the export moved.
    package var moved: MovedBytes { vertices.reduce(exportMoved) { $0 + $1.moved } }

    package init(reference: String, home: String, vertices: [Vertex] = []) {
        self.reference = reference
        self.home = home
        self.vertices = vertices
    }

    /// One vertex of the report.
    package struct Vertex: Sendable, Hashable {
        package var digest: String
        package var name: String
        /// Node that executed it, or where its record was found.
        package var node: String
        package var outcome: Outcome
        package var seconds: Double
        package var moved = MovedBytes()
        package var candidates: [Candidate]
        /// Times that it was placed; more than 1 when an executor was lost.
        package var attempts: Int

        package init(digest: String, name: String, node: String, outcome: Outcome) {
            self.digest = digest
            self.name = name
            self.node = node
            self.outcome = outcome
            seconds = 0
            candidates = []
            attempts = 1
        }
    }

    package enum Outcome: String, Sendable {
        case executed
        /// Read by the home node from its client or the web: a directory, a layout, a download.
        case loaded
        case cachedLocal = "cached-local"
        case cachedPeer = "cached-peer"
        /// Another build of this node, or another node, was already running it.
        case merged
    }

    /// A node that was considered, with the terms of its score in seconds.
    package struct Candidate: Sendable, Hashable {
        package var node: String
        package var queueDelaySeconds: Double
        package var bytesToPull: Int64
        package var scoreSeconds: Double

        package init(node: String, queueDelaySeconds: Double, bytesToPull: Int64, scoreSeconds: Double) {
            self.node = node
            self.queueDelaySeconds = queueDelaySeconds
            self.bytesToPull = bytesToPull
            self.scoreSeconds = scoreSeconds
        }
    }
}
