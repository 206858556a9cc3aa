internal import ClusterModel
internal import Gossip
internal import GossipShell
internal import Logging
internal import Sodium
internal import UVLoop
internal import Wire

/// One member on a real socket: the shell of a node's membership, and nothing of the rest of a node.
struct BenchNode {
    private static let service = "gossip"

    let links: PeerLinks
    let shell: MembershipShell

    /// What one member needs to know to join the others.
    struct Setup {
        var keys: ClusterKeyRing
        var loop: LoopThread
        var origin: ContinuousClock.Instant
        var period: Duration
        var packetLimit: Int
    }

    /// The address and the node.
    static func start(_ number: Int, seeds: [PeerAddress], _ setup: Setup) async throws -> (PeerAddress, BenchNode) {
        var configuration = PeerLinkConfiguration(
            bind: PeerAddress(host: "127.0.0.1", port: 0), identity: try .generate(),
            bootID: BootID.make(unixSeconds: 1_000), keys: setup.keys)
        configuration.packetLimit = setup.packetLimit
        var logger = Logger(label: "bench")
        logger.logLevel = .critical
        let links = try PeerLinks(configuration: configuration, logger: logger, loop: setup.loop)
        let address = try await links.start()
        var gossip = GossipConfiguration()
        gossip.period = setup.period
        gossip.packetLimit = setup.packetLimit
        let membership = try Membership(
            configuration: gossip, id: links.peerID, bootID: configuration.bootID,
            metadata: MemberMetadata(
                name: "bench-\(number)", address: address, platforms: ["linux/amd64"], version: "bench", slots: 2),
            random: SplitMix64(seed: UInt64(number)), now: .zero)
        let shell = MembershipShell(
            membership: membership, links: links,
            surroundings: MembershipShell.Surroundings(
                service: service, origin: setup.origin, wallClock: { MembershipShell.systemWallClock },
                lookUpSeeds: { seeds }, takeBootID: { BootID.make(unixSeconds: 1_000, after: $0) },
                start: { work in Task { await work() } }),
            logger: logger)
        await links.setHandler { _, _, stream in
            do {
                try await shell.serveExchange(stream)
            } catch {
                stream.reset()
            }
        }
        try await shell.begin(seeds: seeds) { _ in }
        return (address, BenchNode(links: links, shell: shell))
    }

    var upCount: Int { get async { await shell.state.upCount } }
    var counters: GossipCounters { get async { await shell.state.counters } }
    var datagrams: LinkCounters { get async { await links.counters() } }

    func stop() async { await links.stop() }
}
