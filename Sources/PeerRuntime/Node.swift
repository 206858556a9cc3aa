internal import CacheMap
internal import ClusterKeys
internal import ClusterModel
internal import ContentStore
internal import Foundation
internal import Gossip
internal import GossipShell
package import Logging
internal import OCI
internal import Registry
internal import Snapshots
internal import Sodium
internal import Solver
internal import Synchronization
internal import Wire
internal import Worker

/// One node: everything it keeps, runs and serves, assembled.
///
/// All nodes are equal.
package final class Node: Sendable {
    /// Reports of builds that are over and kept for `explain`.
    private static let reportsMax = 100

    let settings: NodeParameters
    let selfID: PeerID
    let parts: NodeParts
    let cluster: ClusterShell
    let digests: CacheMapShell
    let records: RecordIndex
    /// Protocol period of the membership: what is collected is announced this long before.
    let gossipPeriod: Duration
    let keys: KeyShell
    let seeds: SeedBook
    let discovery: LinkDiscovery?
    let store: RecordStore
    let steps: StepExecutor
    private let downloads: HTTPSource
    private let registry: RegistryClient
    let slots: Slots
    let machine: MachineSampler
    let counters: RuntimeCounters
    let logger: Logger
    let builds = Mutex(Builds())
    /// The address that peers use.
    let address: PeerAddress
    /// Where peers reach this node, for people.
    package var peerAddress: String { "\(address)" }

    let services: PeerServices
    private let board: ClaimBoard
    let links: PeerLinks
    let jobs: Jobs
    private let lock: RootLock
    private let snapshotFile: MemberSnapshotFile
    private let leaving = Mutex<AsyncStream<Void>.Continuation?>(nil)

    struct Builds {
        var running: [String: Build] = [:]
        /// Why no build may begin any more; nil while they may.
        var stopReason: String?
        var reports: [BuildReport] = []
    }

    /// Opens the root directory, cleans what a crash left, and binds the peer port.
    ///
    /// `run` starts the cluster's work.
    package init(_ settings: NodeParameters, logger: Logger) async throws {
        let lock = try RootLock(root: settings.root)
        let root = settings.root
        let identity = try NodeIdentity.loadOrCreate(file: root + "/identity")
        let bootID = try BootID.next(file: root + "/boot", unixSeconds: settings.startSeconds)
        let selfID = PeerID(rawValue: identity.id)
        let counters = RuntimeCounters()
        let jobs = Jobs()
        let snapshots = try SnapshotStore(root: root + "/snapshots")
        if snapshots.droppedLayers > 0 {
            logger.notice("layers of another format were dropped", metadata: ["count": "\(snapshots.droppedLayers)"])
        }
        let blobs = try ContentStore(root: root + "/content")
        let store = try RecordStore(path: root + "/records.sqlite")
        guard settings.keys.isSecret || Self.isLoopback(settings.bind.host) else {
            throw NodeError.publicBind(settings.bind)
        }
        let ring = try ClusterKeyRing.atStart(
            keyFile: settings.keys, kept: root + "/keyring", now: UInt64(settings.startSeconds))
        try ring.keep(at: root + "/keyring")
        var linkConfiguration = PeerLinkConfiguration(
            bind: settings.bind, identity: identity, bootID: bootID, keys: ring, clusterName: settings.clusterName)
        linkConfiguration.bulkRateMax = settings.transferRateMax
        linkConfiguration.packetLimit = settings.packetLimit
        if let served = settings.servedTransfersMax { linkConfiguration.servedBulkMax = served }
        let links = try PeerLinks(configuration: linkConfiguration, logger: logger)
        let bound = try await links.start()
        var advertised = settings.advertise.prefix(NodeParameters.advertiseMax).map {
            PeerAddress(host: $0.host, port: $0.port == 0 ? bound.port : $0.port)
        }
        if advertised.isEmpty {
            advertised = PeerAddress.reachable(at: bound, seeds: settings.join.compactMap { PeerAddress($0) })
        }
        guard let address = advertised.first else {
            await links.stop()
            throw NodeError.nothingToAdvertise(bound)
        }
        let origin = ContinuousClock.now
        let snapshotFile = MemberSnapshotFile(path: root + "/members.json", logger: logger)
        var gossip = GossipConfiguration()
        gossip.packetLimit = settings.packetLimit
        let membership = try Membership(
            configuration: gossip, id: selfID, bootID: bootID,
            metadata: MemberMetadata(
                name: settings.name, address: address, alternatives: Array(advertised.dropFirst()),
                platforms: settings.platforms.map(\.description),
                labels: settings.labels, version: settings.version, slots: UInt16(clamping: settings.slots)),
            remembered: snapshotFile.load(), random: SplitMix64(seed: settings.seed), now: .zero)
        let seeds = SeedBook(seeds: settings.join, links: links, logger: logger)
        let shell = MembershipShell(
            membership: membership, links: links,
            surroundings: MembershipShell.Surroundings(
                service: PeerService.gossip.rawValue, origin: origin, wallClock: settings.wallClock,
                lookUpSeeds: { await seeds.lookUp() },
                takeBootID: {
                    try BootID.next(
                        file: root + "/boot", unixSeconds: UInt32(clamping: PeerLinks.unixSeconds), above: $0)
                },
                start: { jobs.start(nil, $0) }),
            logger: logger)
        let cluster = ClusterShell(
            selfID: selfID, own: membership.own, shell: shell, links: links, logger: logger)
        let loadSignal = LoadSignal()
        var mapSettings = CacheMapDigest.Settings()
        mapSettings.pageBytes = membership.publishBytesMax
        mapSettings.budget = settings.mapBudget
        var exchangeSettings = MapExchange.Settings()
        exchangeSettings.period = gossip.period
        exchangeSettings.datagramBytesMax = membership.directBytesMax
        let makeExchange =
            { @Sendable [mapSettings, exchangeSettings] mapKey, epoch, clusterSize, last in
                let hashKey = try Self.mapHashKey(mapKey)
                return MapExchange(
                    selfID: selfID,
                    own: CacheMapDigest(
                        epoch: epoch, hashKey: hashKey, clusterSize: clusterSize, entries: try store.mapEntries(),
                        settings: mapSettings, last: last),
                    hashKey: hashKey, settings: exchangeSettings)
            } as CacheMapShell.ExchangeMaker
        let digests = CacheMapShell(
            exchange: try makeExchange(
                ring.mapKey, max(1, settings.startSeconds), 1, CacheMapShell.saved(root + "/cache-map")),
            makeExchange: makeExchange,
            questions: HaveQuestions(
                first: UInt32(truncatingIfNeeded: settings.seed), datagramBytesMax: membership.directBytesMax),
            cluster: cluster, jobs: jobs, savePath: root + "/cache-map", origin: origin, logger: logger,
            loadChanged: { await loadSignal.fire() })
        let keys = KeyShell(
            ring: ring, links: links, cluster: cluster, path: root + "/keyring",
            graceSeconds: settings.keyGraceSeconds, logger: logger, loadChanged: { await loadSignal.fire() },
            mapKeyChanged: { [digests] in await digests.rekey($0) })
        let slots = Slots(count: settings.slots)
        let records = RecordIndex(
            store: store, snapshots: snapshots, digests: digests, dialer: cluster, counters: counters, logger: logger)
        let leases = LeaseRenewal(dialer: cluster, period: settings.leaseRenewalPeriod, logger: logger)
        let fetcher = LayerFetcher(
            snapshots: snapshots, blobs: blobs, dialer: cluster, counters: counters, leases: leases, logger: logger)
        let registry = RegistryClient(configuration: RegistryConfiguration(hosts: settings.registries), logger: logger)
        let loader = ImageLoader(
            content: blobs, snapshots: snapshots, index: try LayerBlobIndex(directory: root + "/layer-blobs"))
        let resolutions = ResolutionCache()
        let share = ImageShare(
            content: blobs, registry: registry, resolutions: resolutions, dialer: cluster, counters: counters,
            standing: fetcher.standing, logger: logger)
        let images = ImageSource(registry: registry, loader: loader, resolutions: resolutions, sharing: share)
        let layouts = OCILayoutSource(loader: loader)
        let downloads = try HTTPSource(content: blobs, snapshots: snapshots, cacheDirectory: root + "/downloads")
        let steps = try StepExecutor(
            configuration: StepExecutorConfiguration(
                root: root, runtimePath: settings.runtimePath, forbidsNewPrivileges: settings.forbidsNewPrivileges),
            snapshots: snapshots)
        let board = ClaimBoard()
        let executor = Executor(
            operations: Operations(
                steps: steps, files: FileOperations(snapshots: snapshots),
                snapshots: snapshots, images: images),
            records: records, claims: Claims(board: board, dialer: cluster, logger: logger), fetcher: fetcher,
            prefetcher: Prefetcher(fetcher, jobs: jobs),
            slots: slots, dialer: cluster, counters: counters, logger: logger)
        let contents = ContentDigests(snapshots: snapshots, dialer: cluster)
        let solver = SolverShell(
            records: records,
            sources: Sources(
                images: images, layouts: layouts, downloads: downloads,
                local: try LocalSources(root: root + "/contexts", snapshots: snapshots), contents: contents,
                dialer: cluster, records: records),
            contents: contents,
            runner: Runner(
                placer: Placer(dialer: cluster, snapshots: snapshots, slots: slots, cluster: cluster, logger: logger),
                executor: executor, dialer: cluster, logger: logger),
            jobs: jobs, dialer: cluster, leases: leases, logger: logger)
        self.settings = settings
        self.selfID = selfID
        self.lock = lock
        self.links = links
        self.jobs = jobs
        self.cluster = cluster
        self.digests = digests
        self.records = records
        gossipPeriod = gossip.period
        self.keys = keys
        self.seeds = seeds
        discovery =
            settings.usesMulticastDNS
            ? LinkDiscovery(
                beacon: LinkBeacon(
                    id: selfID, addresses: advertised, random: SplitMix64(seed: settings.seed ^ identity.id)),
                links: links, logger: logger) : nil
        self.store = store
        self.steps = steps
        self.downloads = downloads
        self.slots = slots
        machine = MachineSampler(root: root)
        self.board = board
        self.counters = counters
        self.logger = logger
        self.address = address
        self.snapshotFile = snapshotFile
        self.registry = registry
        let pushes = ImagePushService(
            push: ImagePush(loader: loader, registry: registry, fetcher: fetcher), dialer: cluster)
        parts = NodeParts(
            dialer: cluster, solver: solver, snapshots: snapshots, blobs: blobs, fetcher: fetcher, loader: loader,
            pushes: pushes, metadata: SourceMetadata(images: images, layouts: layouts),
            exportDirectory: root + "/exports", platforms: settings.platforms, logger: logger)
        services = PeerServices(
            cluster: cluster, digests: digests, keys: keys, records: records, board: board,
            execution: ExecutionService(executor: executor, dialer: cluster), pushes: pushes,
            sessions: SessionService(session: { build in await solver.session(of: build) }), contents: contents,
            snapshots: snapshots, blobs: blobs, images: share, slots: slots, counters: counters, logger: logger)
        await loadSignal.set { [weak self] in await self?.reportLoad() }
        await digests.start { [services] in services.answer($0) }
    }

    /// The hash key of digests: equal on all nodes of a cluster, secret from everybody else.
    private static func mapHashKey(_ bytes: [UInt8]) throws -> MapHashKey {
        guard let key = MapHashKey(bytes: bytes) else {
            throw NodeError.root("-", "the cluster key gives no hash key")
        }
        return key
    }

    private static func isLoopback(_ host: String) -> Bool {
        host == "::1" || host == "localhost" || host.hasPrefix("127.")
    }

    // MARK: Life

    /// Joins the cluster and serves peers until the task is cancelled or the node was told to leave.
    package func run() async throws {
        let services = services
        await links.setWaitingMessage { PeerService(rawValue: $0)?.waitingMessage }
        await links.setHandler { service, peer, stream in await services.serve(service, from: peer, stream) }
        let (left, continuation) = AsyncStream.makeStream(of: Void.self)
        leaving.withLock { $0 = continuation }
        await discover()
        let addresses = await seeds.lookUp()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.cluster.run(seeds: addresses, listener: self.listener()) }
            group.addTask { await self.watchLoad() }
            group.addTask { await self.keys.run() }
            group.addTask { for await _ in left { return } }
            // Only the word to leave, or cancellation, ends one of them.
            await group.next()
            group.cancelAll()
        }
    }

    /// Ends everything: builds, steps, links.
    ///
    /// With `leaving` the cluster is told good-bye first.
    package func stop(leaving isLeaving: Bool) async {
        let reason = "the node \(settings.name) stops and ends its builds; submit the build again, to another node"
        let running = builds.withLock { builds in
            builds.stopReason = reason
            return Array(builds.running.values)
        }
        for build in running { await build.stop(reason: reason) }
        if isLeaving { await cluster.leave() }
        await discovery?.stop()
        await jobs.stop()
        await links.stop()
        steps.shutdown()
        do {
            try await registry.shutdown()
            try await downloads.shutdown()
        } catch {
            logger.debug("a connection did not close", metadata: ["error": "\(error)"])
        }
    }

    /// Takes nodes on this node's links as seeds, beside those that it was given.
    private func discover() async {
        guard let discovery else { return }
        await seeds.foundOnLink([])
        // Anybody on the link can cause a change: there is one look-up at a time.
        let found = NewestValue<[PeerAddress]>()
        jobs.start { [seeds, cluster] in
            await found.forEach { addresses in
                await seeds.foundOnLink(addresses)
                await cluster.seedsResolved(seeds.lookUp())
            }
        }
        await discovery.start { found.put($0) }
    }

    func finishLeaving() { leaving.withLock(\.self)?.finish() }

    private func listener() -> ClusterShell.Listener {
        ClusterShell.Listener(
            changed: { [weak self] in await self?.memberChanged($0) },
            delivered: { [digests] in await digests.received($0, from: $1) },
            deliveredDirect: { [digests] in await digests.receivedDirect($0, from: $1) },
            mapRootDiffers: { [digests] in await digests.rootDiffers($0) },
            persist: { [snapshotFile] in snapshotFile.save($0) })
    }

    private func memberChanged(_ change: MemberChange) async {
        let peer = change.member.id
        await digests.memberChanged(change, clusterSize: cluster.livePeers.count + 1)
        guard peer != selfID, change.kind == .died || change.kind == .left || change.kind == .restarted else { return }
        await board.nodeLost(peer)
        await parts.solver.nodeLost(peer)
    }

    func keep(_ report: BuildReport) {
        builds.withLock { builds in
            builds.reports.append(report)
            if builds.reports.count > Self.reportsMax { builds.reports.removeFirst() }
        }
    }
}

/// Lets the cache map ask for a load record before the node exists as a whole.
private actor LoadSignal {
    private var action: (@Sendable () async -> Void)?

    func set(_ action: @escaping @Sendable () async -> Void) { self.action = action }
    func fire() async { await action?() }
}
