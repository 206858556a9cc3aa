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
        return FoundRecord(
            canonicalKey: record.canonicalKey, result: VertexResult(outputs: record.outputs, holders: [dialer.selfID]))
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
        if let record = local(key) { return record }
        let peers = await digests.holders(of: key).filter(dialer.isLive).prefix(Self.askedMax)
        guard !peers.isEmpty else { return nil }
        return await withTaskGroup(of: FoundRecord?.self) { group in
            for peer in peers { group.addTask { await self.confirm(key, at: peer) } }
            for await record in group {
                if let record {
                    group.cancelAll()
                    return record
                }
            }
            return nil
        }
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
        await digests.add([key] + aliases)
    }

    /// Lets a record that is here be found under one more key.
    func add(alias: CacheKey, to key: CacheKey) async throws {
        guard try store.addAlias(alias, to: key) else { return }
        await digests.add([alias])
    }
}
