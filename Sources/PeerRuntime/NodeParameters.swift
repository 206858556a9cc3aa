package import ClusterModel
internal import Gossip
internal import GossipShell
package import OCI
package import Registry
package import Sodium

/// Everything that a node is told at its start, checked.
package struct NodeParameters: Sendable {
    package var name: String
    /// Directory of the node's state; one process a root.
    package var root: String
    /// Address of gossip and peer links; port 0 takes a free one.
    package var bind: PeerAddress
    /// What peers are told, if not the bound address: at most 3, the best first.
    package var advertise: [PeerAddress]
    /// Seeds, `host:port`; names are looked up.
    package var join: [String]
    /// Whether nodes on this node's links are found by multicast DNS, and find this one.
    package var usesMulticastDNS: Bool
    package var keys: ClusterKeyRing
    /// How long a retired key still opens, for members that were away.
    package var keyGraceSeconds: UInt64
    package var clusterName: String
    /// Largest UDP payload of gossip, sealed, in bytes: 512 to 8,900.
    package var packetLimit: Int
    /// Steps that run at once.
    package var slots: Int
    /// Bytes of the cache-map digest; above it only the most valuable keys are published.
    package var mapBudget: Int
    /// Bytes a second of content that this node sends to peers at most; nil is no limit.
    package var transferRateMax: Int?
    /// Streams of content that it serves at once; nil is the default.
    package var servedTransfersMax: Int?
    /// How often peers are asked to keep what this node or its builds will come for; a lease lasts 30 s.
    package var leaseRenewalPeriod: Duration
    package var labels: [String: String]
    package var platforms: [Platform]
    package var registries: [String: RegistryHostConfiguration]
    /// Entitlements that this node may grant to builds that ask for them.
    package var entitlements: Set<String>
    /// The OCI runtime; nil looks for crun and runc.
    package var runtimePath: String?
    /// Whether steps may not gain privileges by set-uid programs such as `sudo`.
    package var forbidsNewPrivileges: Bool
    package var version: String
    /// Unix time in seconds at the start, and a seed for randomness: taken by the wiring, not here.
    package var startSeconds: UInt32
    /// The time since 1970, read again while the node runs: periods of gossip are numbered by it, and it may jump.
    package var wallClock: @Sendable () -> Duration
    package var seed: UInt64

    package static let keyGraceSecondsDefault: UInt64 = 86_400
    /// One address a way: IPv6, IPv4, public.
    package static let advertiseMax = 3

    package init(name: String, root: String, bind: PeerAddress, keys: ClusterKeyRing) {
        self.name = name
        self.root = root
        self.bind = bind
        self.keys = keys
        advertise = []
        join = []
        usesMulticastDNS = false
        keyGraceSeconds = Self.keyGraceSecondsDefault
        clusterName = "peerbuild"
        packetLimit = GossipConfiguration().packetLimit
        slots = 1
        mapBudget = 64_000
        leaseRenewalPeriod = LeaseRenewal.periodDefault
        labels = [:]
        platforms = [.host]
        registries = [:]
        entitlements = []
        forbidsNewPrivileges = false
        version = ""
        startSeconds = 0
        wallClock = { MembershipShell.systemWallClock }
        seed = 0
    }
}

/// Why a node cannot start or do what it was asked.
package enum NodeError: Error, CustomStringConvertible {
    case rootInUse(String)
    case root(String, String)
    case publicBind(PeerAddress)
    case nothingToAdvertise(PeerAddress)
    case unknownMember(String)
    case notHere(String)

    package var description: String {
        switch self {
        case .rootInUse(let root):
            "another node uses the root directory \(root); stop it, or give this one its own --root"
        case .root(let root, let why): "the root directory \(root) cannot be used: \(why)"
        case .publicBind(let address):
            "without --cluster-key-file a node binds to loopback only, and \(address) is not; "
                + "make a key with `peerbuild keygen`, or bind to 127.0.0.1"
        case .nothingToAdvertise(let address):
            "\(address) stands for all addresses, and this machine has none that peers could reach; "
                + "give one with --advertise, or bind to one with --bind"
        case .unknownMember(let name): "no member is called \"\(name)\"; `peerbuild status` lists them"
        case .notHere(let name): "node \"\(name)\" has to be told itself: ask it with --addr"
        }
    }
}
