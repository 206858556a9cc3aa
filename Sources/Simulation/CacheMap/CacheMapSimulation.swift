package import CacheMap
package import ClusterModel
package import Gossip
internal import OCI

/// A cluster whose nodes keep cache maps: real memberships and real exchanges over one simulated network.
package struct CacheMapSimulation: Sendable {
    private enum Happening: Sendable {
        case wake(node: Int, number: UInt64)
        case request(asker: Int, MapExchange.FetchID, to: Int, [UInt8])
        case part(asker: Int, MapExchange.FetchID, [UInt8])
        case ended(asker: Int, MapExchange.FetchID)
    }

    /// A key whose spread is watched.
    package struct Watch: Sendable {
        package let owner: Int
        package let key: CacheKey
        package let since: MonotonicInstant
        /// When each other node knew, in order.
        package fileprivate(set) var known: [Duration] = []
        fileprivate var missing: Set<Int>
    }

    /// The network is looked at this often between two things that are due.
    private static let quantum: Duration = .microseconds(500)
    /// Bytes per second of a stream: a tenth of a gigabit link.
    private static let streamBytesPerSecond = 12_500_000.0
    private static let connectTimeout: Duration = .seconds(1)
    /// The epoch of a node's first digest, and what a restart adds: in the product both are Unix seconds.
    private static let epochStep: UInt32 = 1_000

    package private(set) var cluster: ClusterSimulation
    package private(set) var exchanges: [MapExchange] = []
    /// What each node holds, and since when it said so; apart from the protocol.
    package private(set) var held: [[Int: MonotonicInstant]] = []
    /// What each node removed, and when it said so.
    package private(set) var removed: [[Int: MonotonicInstant]] = []
    /// The epoch with which the digest of each node's present boot began.
    package internal(set) var bootEpochs: [UInt32] = []
    package private(set) var watches: [Watch] = []
    package private(set) var streamBytes = 0
    package private(set) var notices: [MapNotice] = []
    private var wakes: [UInt64] = []
    private var heap = EventHeap<Happening>()
    private let digestSettings: CacheMapDigest.Settings
    private let hashKey: MapHashKey

    package init?(seed: UInt64, configuration: GossipConfiguration, digest: CacheMapDigest.Settings) {
        guard let hashKey = MapHashKey(bytes: [UInt8](repeating: 7, count: 16)) else { return nil }
        cluster = ClusterSimulation(seed: seed, configuration: configuration)
        cluster.keepsUpcalls = true
        digestSettings = digest
        self.hashKey = hashKey
    }

    package var now: MonotonicInstant { cluster.now }
    package var network: SimulatedNetwork {
        get { cluster.network }
        set { cluster.network = newValue }
    }

    /// Distinct keys without hashing: digests of 32 mixed bytes.
    package static func key(_ number: Int) -> CacheKey {
        var bytes: [UInt8] = []
        for word in 0..<4 {
            let mixed = SplitMix64.mix(UInt64(number) &* 4 &+ UInt64(word) &+ 1)
            for shift in stride(from: 56, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: mixed >> UInt64(shift)))
            }
        }
        return CacheKey(Digest(bytes: bytes) ?? Digest.of(bytes))
    }

    // MARK: Script

    /// Starts a node that holds `keys` and joins through node 0.
    package mutating func start(holding keys: [Int], clusterSize: Int) throws(GossipConfigurationError) {
        let node = exchanges.count
        exchanges.append(exchange(of: node, holding: keys, epoch: Self.epochStep, clusterSize: clusterSize))
        bootEpochs.append(Self.epochStep)
        held.append(Dictionary(uniqueKeysWithValues: keys.map { ($0, cluster.now) }))
        removed.append([:])
        wakes.append(0)
        _ = try cluster.start(seeds: node == 0 ? [] : [0])
        cluster.tell(node, .mapRootChanged(exchanges[node].mapRoot))
        takeUpcalls()
    }

    /// Starts a crashed node again under a new boot; it holds what it held, without the keys in `lost`.
    package mutating func restart(
        _ node: Int, losing lost: [Int], clusterSize: Int
    ) throws(GossipConfigurationError) {
        for key in lost where held[node].removeValue(forKey: key) != nil { removed[node][key] = cluster.now }
        let epoch = exchanges[node].own.epoch + Self.epochStep
        let fresh = exchange(of: node, holding: held[node].keys.sorted(), epoch: epoch, clusterSize: clusterSize)
        exchanges[node] = fresh.continuing(exchanges[node])
        bootEpochs[node] = epoch
        // Wakes of the former process are not for this one.
        wakes[node] += 1
        try cluster.restart(node, seeds: [node == 0 ? 1 : 0])
        cluster.tell(node, .mapRootChanged(exchanges[node].mapRoot))
        takeUpcalls()
    }

    private func exchange(of node: Int, holding keys: [Int], epoch: UInt32, clusterSize: Int) -> MapExchange {
        var settings = digestSettings
        settings.pageBytes = min(settings.pageBytes, cluster.configuration.datagramBytesMax - Self.recordOverhead)
        var exchange = MapExchange.Settings()
        exchange.period = cluster.configuration.period
        exchange.datagramBytesMax = settings.pageBytes
        return MapExchange(
            selfID: ClusterSimulation.id(of: node),
            own: CacheMapDigest(
                epoch: epoch, hashKey: hashKey, clusterSize: clusterSize,
                entries: keys.map { MapEntry(key: Self.key($0), cost: 1, lastUsed: 0) }, settings: settings),
            hashKey: hashKey, settings: exchange)
    }

    /// Frame, origin, boot and number of a user record.
    private static let recordOverhead = 3 + 20

    package mutating func add(_ keys: [Int], at node: Int, cost: Double, isWatched: Bool = false) {
        for key in keys { held[node][key] = cluster.now }
        if isWatched {
            let others = Set(cluster.running).subtracting([node])
            for key in keys {
                watches.append(Watch(owner: node, key: Self.key(key), since: cluster.now, missing: others))
            }
        }
        handle(.added(keys.map { MapEntry(key: Self.key($0), cost: cost, lastUsed: 0) }), by: node)
    }

    package mutating func remove(_ keys: [Int], at node: Int) {
        for key in keys where held[node].removeValue(forKey: key) != nil { removed[node][key] = cluster.now }
        handle(.removed(keys.map(Self.key)), by: node)
    }

    /// For tests of the checker: a key that the node holds and does not speak of.
    package mutating func forgetToAnnounce(_ key: Int, at node: Int) { held[node][key] = cluster.now }

    /// For tests of the checker: keys that the node removes, and goes on to speak of.
    package mutating func forgetToRemove(_ keys: [Int], at node: Int) {
        for key in keys where held[node].removeValue(forKey: key) != nil { removed[node][key] = cluster.now }
    }

    package mutating func crash(_ node: Int) { cluster.crash(node) }

    package mutating func run(for duration: Duration) {
        let end = cluster.now + duration
        while cluster.now < end {
            let due = min(heap.nextAt ?? end, cluster.now + Self.quantum, end)
            cluster.run(for: max(.zero, due - cluster.now))
            takeUpcalls()
            while let at = heap.nextAt, at <= cluster.now, let (_, happening) = heap.next() { happen(happening) }
        }
    }

    /// Runs until the condition holds, looking each 50 ms; nil when it does not within `limit`.
    package mutating func run(within limit: Duration, until condition: (CacheMapSimulation) -> Bool) -> Duration? {
        let begin = cluster.now
        while !condition(self) {
            guard cluster.now - begin < limit else { return nil }
            run(for: .milliseconds(50))
        }
        return cluster.now - begin
    }

    // MARK: Views

    /// Every running node knows where every other's digest stands.
    package var isInStep: Bool { cluster.running.allSatisfy { isInStep(with: $0) } }

    /// Every other running node knows where the digest of `owner` stands.
    package func isInStep(with owner: Int) -> Bool {
        let position = exchanges[owner].own.position
        if position.root == 0, position.sequence == 0 { return true }
        let id = ClusterSimulation.id(of: owner)
        return cluster.running.allSatisfy { $0 == owner || exchanges[$0].digests.position(of: id) == position }
    }

    /// The digest of `owner` as a reader that has nothing and fetches all of it now would have it.
    func fetched(from owner: Int) -> PeerDigests {
        var own = exchanges[owner].own
        _ = own.flush(at: cluster.now)
        var replica = PeerDigests(hashKey: hashKey)
        for part in own.answer(.everything, at: cluster.now) {
            _ = replica.apply(part, from: ClusterSimulation.id(of: owner))
        }
        return replica
    }

    package var datagramBytes: Int { cluster.nodes.reduce(0) { $0 + $1.bytesSent } }
    package var datagrams: Int { cluster.nodes.reduce(0) { $0 + $1.datagramsSent } }

    package func mayHold(_ reader: Int, _ owner: Int, _ key: CacheKey) -> Bool {
        exchanges[reader].digests.mayHold(ClusterSimulation.id(of: owner), key)
    }

    // MARK: Machinery

    private mutating func takeUpcalls() {
        var upcalls = cluster.takeUpcalls()
        while !upcalls.isEmpty {
            for upcall in upcalls { take(upcall) }
            upcalls = cluster.takeUpcalls()
        }
    }

    private mutating func take(_ upcall: ClusterSimulation.Upcall) {
        let node = upcall.node
        guard exchanges.indices.contains(node) else { return }
        switch upcall.kind {
        case .delivered(let bytes, let peer):
            handle(.delivered(bytes, from: peer), by: node)
            look(node)
        case .direct(let bytes, let peer): handle(.direct(bytes, from: peer), by: node)
        case .mapRootDiffers(let peer): handle(.rootDiffers(peer), by: node)
        case .changed(let change):
            guard change.member.id != ClusterSimulation.id(of: node) else { return }
            handle(
                .member(
                    change.member.id, isLive: change.member.isUp, bootID: change.member.bootID,
                    clusterSize: cluster.nodes[node].membership.upCount), by: node)
        }
    }

    private mutating func happen(_ happening: Happening) {
        switch happening {
        case .wake(let node, let number):
            guard wakes[node] == number else { return }
            handle(.timer, by: node)
        case .request(let asker, let id, let target, let bytes): serve(asker, id, target, bytes)
        case .part(let asker, let id, let bytes):
            handle(.fetched(id, bytes), by: asker)
            look(asker)
        case .ended(let asker, let id): handle(.fetchEnded(id), by: asker)
        }
    }

    private mutating func handle(_ event: MapExchange.Event, by node: Int) {
        guard cluster.nodes[node].isRunning else { return }
        for effect in exchanges[node].handle(event, at: cluster.now) { perform(effect, by: node) }
    }

    private mutating func perform(_ effect: MapExchange.Effect, by node: Int) {
        switch effect {
        case .publish(let bytes, let isUrgent): cluster.tell(node, .publish(bytes, isUrgent: isUrgent))
        case .direct(let bytes, let peer): cluster.tell(node, .sendDirect(bytes, to: peer))
        case .rootChanged(let root): cluster.tell(node, .mapRootChanged(root))
        case .wake(let instant):
            wakes[node] += 1
            heap.plan(.wake(node: node, number: wakes[node]), at: max(cluster.now, instant))
        case .fetch(let id, let peer, let bytes):
            streamBytes += bytes.count
            guard let target = exchanges.indices.first(where: { ClusterSimulation.id(of: $0) == peer }) else { return }
            heap.plan(.request(asker: node, id, to: target, bytes), at: cluster.now + cluster.network.streamDelay())
        case .notice(let notice): notices.append(notice)
        case .abandon, .answer, .save, .asked, .answered: break
        }
    }

    private mutating func serve(_ asker: Int, _ id: MapExchange.FetchID, _ target: Int, _ bytes: [UInt8]) {
        guard cluster.nodes[target].isRunning, cluster.network.connects(asker, to: target),
            cluster.network.connects(target, to: asker)
        else { return heap.plan(.ended(asker: asker, id), at: cluster.now + Self.connectTimeout) }
        var at = cluster.now + cluster.network.streamDelay()
        for effect in exchanges[target].handle(.requested(token: 0, bytes), at: cluster.now) {
            guard case .answer(_, let parts) = effect else {
                perform(effect, by: target)
                continue
            }
            for part in parts ?? [] {
                streamBytes += part.count
                at = at + .nanoseconds(Int64(Double(part.count) / Self.streamBytesPerSecond * 1e9))
                heap.plan(.part(asker: asker, id, part), at: at)
            }
        }
        heap.plan(.ended(asker: asker, id), at: at)
    }

    /// Notes which watched keys `node` has learnt of.
    private mutating func look(_ node: Int) {
        for index in watches.indices where watches[index].missing.contains(node) {
            guard mayHold(node, watches[index].owner, watches[index].key) else { continue }
            watches[index].missing.remove(node)
            watches[index].known.append(cluster.now - watches[index].since)
        }
    }
}
