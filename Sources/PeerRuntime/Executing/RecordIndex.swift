internal import CacheMap
internal import ClusterModel
internal import Logging
internal import OCI
internal import Snapshots
internal import Solver
internal import Synchronization

/// Finds the record of a cache key: in this node's store, else with a peer whose digest has the key.
///
/// A hit in a peer's Bloom digest is a hint; only the peer's own answer counts (DESIGN promise P6).
final class RecordIndex: Sendable {
    /// Peers with a digest hit that are asked at once.
    static let askedMax = 3

    private let store: RecordStore
    private let snapshots: SnapshotStore
    private let digests: CacheMapShell
    private let dialer: any PeerDialer
    private let counters: RuntimeCounters
    private let logger: Logger
    private let leases = Mutex(LeaseTable())
    private let uses = Mutex(UseLog())

    init(
        store: RecordStore, snapshots: SnapshotStore, digests: CacheMapShell, dialer: any PeerDialer,
        counters: RuntimeCounters, logger: Logger
    ) {
        self.store = store
        self.snapshots = snapshots
        self.digests = digests
        self.dialer = dialer
        self.counters = counters
        self.logger = logger
    }

    /// This node's own record, if all layers of its outputs are here.
    func local(_ key: CacheKey) -> FoundRecord? {
        let record: CacheRecord?
        do {
            record = try store.record(for: key)
        } catch {
            logger.error("a cache record cannot be read", metadata: ["key": "\(key)", "error": "\(error)"])
            return nil
        }
        guard let record, holdsAll(record.outputs) else { return nil }
        let layers = Self.layers(of: record.outputs)
        guard leases.withLock({ leases in !layers.contains { leases.isCondemned($0.id) } }) else { return nil }
        return FoundRecord(
            canonicalKey: record.canonicalKey, result: VertexResult(outputs: record.outputs, holders: [dialer.selfID]))
    }

    private static func layers(of outputs: [LayerChain?]) -> [LayerDescriptor] {
        outputs.compactMap(\.self).flatMap(\.layers)
    }

    /// This node's own record for a peer, and the bytes of its layers; they stay here for the lifetime of a lease.
    func lease(_ key: CacheKey) -> (record: FoundRecord, bytes: UInt64)? {
        guard let record = local(key) else { return nil }
        let layers = Self.layers(of: record.result.outputs)
        guard leases.withLock({ $0.grant(layers.map(\.id), at: Self.now) }) else { return nil }
        noteUse(of: key)
        return (record, UInt64(clamping: layers.totalBytes))
    }

    /// Notes that a record of this node was used, under all its keys: what was used lately is collected last, and
    /// published first.
    private func noteUse(of key: CacheKey) {
        let now = BuildProgress.now() / 1_000_000_000
        guard uses.withLock({ $0.isDue(key, at: now) }) else { return }
        do {
            try store.touch(key, at: now)
            guard let record = try store.record(for: key) else { return }
            let keys = try [record.key] + store.aliases(of: record.key)
            digests.used(keys.map { MapEntry(key: $0, cost: record.cost, lastUsed: now) })
        } catch {
            logger.debug("a time of use is not noted", metadata: ["key": "\(key)", "error": "\(error)"])
        }
    }

    /// Keeps layers here for the lifetime of a lease; returns those that are here and stay.
    func lease(layers: [Digest]) -> [Digest] {
        let leased = layers.filter { layer in
            snapshots.contains(layer) && leases.withLock { $0.grant([layer], at: Self.now) }
        }
        snapshots.lease(leased, for: PeerServices.leaseTime)
        return leased
    }

    /// Begins the collection of those layers on which no peer has a lease: their records are not found any more.
    func condemn(_ layers: [Digest]) -> [Digest] { leases.withLock { $0.condemn(layers, at: Self.now) } }

    /// Ends the collection, whatever came of it.
    func finishCollection(of layers: [Digest]) { leases.withLock { $0.finish(layers) } }

    private static let origin = ContinuousClock.now
    private static var now: MonotonicInstant {
        MonotonicInstant(nanoseconds: (ContinuousClock.now - origin).nanoseconds)
    }

    private func holdsAll(_ outputs: [LayerChain?]) -> Bool {
        outputs.allSatisfy { chain in chain.map(holds) ?? true }
    }

    /// Whether all layers of a tree are on this node.
    func holds(_ chain: LayerChain) -> Bool {
        chain.layers.allSatisfy { snapshots.contains($0.id) }
    }

    /// The record here or at a peer.
    func find(_ key: CacheKey) async -> FoundRecord? {
        if let record = local(key) {
            noteUse(of: key)
            return record
        }
        let peers = await digests.holders(of: key).filter(dialer.isLive).prefix(Self.askedMax)
        guard !peers.isEmpty else { return nil }
        let answers = await withTaskGroup(of: (peer: PeerID, answer: HaveQuestions.Answer?).self) { group in
            for peer in peers { group.addTask { (peer, await self.digests.ask(key, at: peer)) } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        // The least busy of those who have it gives the record; those that did not answer in time are asked by stream.
        let denied = answers.count { $0.answer != nil && $0.answer?.bytes == nil }
        counters.add(\.bloomHits, UInt64(denied))
        counters.add(\.bloomHitsDenied, UInt64(denied))
        let candidates = answers.filter { $0.answer?.bytes != nil || $0.answer == nil }
            .sorted { ($0.answer?.load ?? .max, $0.peer) < ($1.answer?.load ?? .max, $1.peer) }
        for candidate in candidates {
            guard var record = await confirm(key, at: candidate.peer) else { continue }
            // The others that have the key have promised their layers too: each gives a share of a pull. One that has
            // another result of the key refuses, which costs a round trip.
            record.result.holders += candidates.filter { $0.answer?.bytes != nil && $0.peer != candidate.peer }
                .map(\.peer)
            return record
        }
        return nil
    }

    /// The peer's own word on a key; nil also when it does not answer.
    func confirm(_ key: CacheKey, at peer: PeerID) async -> FoundRecord? {
        counters.add(\.bloomHits, 1)
        do {
            if let record = try await PeerCalls(dialer: dialer).have([key], at: peer).first ?? nil {
                var confirmed = record
                confirmed.result.holders = [peer]
                return confirmed
            }
        } catch {
            logger.debug("a peer did not confirm", metadata: ["peer": "\(dialer.name(of: peer))", "error": "\(error)"])
        }
        counters.add(\.bloomHitsDenied, 1)
        return nil
    }

    /// Stores a record durably, then announces its keys.
    func add(_ record: FoundRecord, key: CacheKey, aliases: [CacheKey], cost: Double, name: String) async throws {
        let now = BuildProgress.now() / 1_000_000_000
        try store.store(
            CacheRecord(
                key: key, canonicalKey: record.canonicalKey, outputs: record.result.outputs, created: now,
                lastUsed: now,
                cost: cost, description: name), aliases: aliases)
        await digests.add(([key] + aliases).map { MapEntry(key: $0, cost: cost, lastUsed: now) })
    }

    /// Lets a record that is here be found under one more key.
    func add(alias: CacheKey, to key: CacheKey) async throws {
        guard try store.addAlias(alias, to: key), let record = try store.record(for: key) else { return }
        await digests.add([MapEntry(key: alias, cost: record.cost, lastUsed: record.lastUsed)])
    }
}
