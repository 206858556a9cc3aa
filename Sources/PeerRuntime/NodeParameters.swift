package import ClusterModel
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
    /// What peers are told, if not the bound address.
    package var advertise: PeerAddress?
    /// Seeds, `host:port`; names are looked up.
    package var join: [String]
    package var keys: ClusterKeyRing
    package var clusterName: String
    /// Steps that run at once.
    package var slots: Int
    /// Bytes a second of content that this node sends to peers at most; nil is no limit.
    package var transferRateMax: Int?
    /// Streams of content that it serves at once; nil is the default.
    package var servedTransfersMax: Int?
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
    package var seed: UInt64

    package init(name: String, root: String, bind: PeerAddress, keys: ClusterKeyRing) {
        self.name = name
        self.root = root
        self.bind = bind
        self.keys = keys
        join = []
        clusterName = "peerbuild"
        slots = 1
        labels = [:]
        platforms = [.host]
        registries = [:]
        entitlements = []
        forbidsNewPrivileges = false
        version = ""
        startSeconds = 0
        seed = 0
    }
}

/// Why a node cannot start or do what it was asked.
package enum NodeError: Error, CustomStringConvertible {
    case rootInUse(String)
    case root(String, String)
    case publicBind(PeerAddress)
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
        case .unknownMember(let name): "no member is called \"\(name)\"; `peerbuild status` lists them"
        case .notHere(let name): "node \"\(name)\" has to be told itself: ask it with --addr"
        }
    }
}
