package import ClusterModel
package import Sodium

/// What a node's peer plane needs to know.
package struct PeerLinkConfiguration: Sendable {
    /// Where to listen, UDP and TCP; port 0 takes a free one.
    ///
    /// The host is an address.
    package var bind: PeerAddress
    package var identity: NodeIdentity
    /// Grows with every start of the node; see `BootID`.
    package var bootID: UInt64
    package var keys: ClusterKeyRing
    /// Nodes of clusters with other names do not hear each other, even with one key.
    package var clusterName: String
    package var times: LinkTimes
    /// Largest UDP payload, sealed, in bytes: what first words to an address are padded to.
    package var packetLimit = 1_200
    /// The key of the ring that a handshake is begun with, when it is not the first.
    var dialKey: ClusterKey?
    /// Ciphers of links that this node uses, best first; one at least.
    package var ciphers = RecordAlgorithm.available
    /// Bytes a second of content that all links together send at most, pulls and prefetches; nil is no limit.
    ///
    /// Control is never held back.
    package var bulkRateMax: Int?
    /// Streams of content that are served at once; more wait their turn, those that block a step first.
    package var servedBulkMax = WireLimits.servedBulkMax
    /// Whether records are sealed and opened on threads of their own, beside the loop's.
    package var usesCipherThreads = WireLimits.usesCipherThreads

    package init(
        bind: PeerAddress, identity: NodeIdentity, bootID: UInt64, keys: ClusterKeyRing,
        clusterName: String = "peerbuild", times: LinkTimes = LinkTimes()
    ) {
        self.bind = bind
        self.identity = identity
        self.bootID = bootID
        self.keys = keys
        self.clusterName = clusterName
        self.times = times
    }
}
