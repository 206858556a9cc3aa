import CacheMap
import ClusterKeys
import ClusterModel
import Foundation
import Gossip
import OCI
import Sodium
import Synchronization
import Testing

@testable import PeerRuntime

extension ClusterShell {
    /// More word of the cluster at once than anybody can take.
    fileprivate func flood(_ item: News, count: Int) {
        for _ in 0..<count { tell(item) }
    }
}

/// What `status` shows of gossip, and what changes while a node runs.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ClusterStateTests {
    private static let jumpLine = "the wall clock was set by 3600.0 s; gossip goes by the monotonic clock"

    @Test func `seed names that mean nothing are counted at every try, and logged once a name and minute`()
        async throws
    {
        let names = ["nobody.invalid:7946", "no name at all"]
        try await TestCluster.with(1, change: { $0.join = names }) { cluster in
            let (node, log) = (cluster.nodes[0], cluster.logs[0])
            try await TestCluster.wait("each was tried three times") {
                await node.gossip().counters["seedsUnresolved"] ?? 0 >= 3 * UInt64(names.count)
            }
            for name in names {
                let lines = log.lines(with: "seed \(name)")
                #expect(lines.count == 1, "\(lines)")
                #expect(lines.first?.hasSuffix("it is tried again until it resolves") == true)
            }
            let seeds = await node.gossip().seeds
            #expect(seeds.map(\.name) == names && seeds.allSatisfy { $0.error != nil && $0.addresses.isEmpty })
        }
    }

    @Test func `a clock that is set and a seed that means nothing are counted`() async throws {
        let wall = Mutex(Duration.seconds(1_000_000))
        let origin = ContinuousClock.now
        let readWall: @Sendable () -> Duration = { wall.withLock { $0 } + origin.duration(to: .now) }
        try await TestCluster.with(
            2,
            change: {
                $0.wallClock = readWall
                $0.join.append("no name at all")
            }
        ) { cluster in
            for node in cluster.nodes {
                #expect(await node.gossip().counters["clockJumps"] == 0)
                #expect(await node.gossip().counters["seedsUnresolved"] ?? 0 > 0)
            }
            wall.withLock { $0 += .seconds(3_600) }
            try await TestCluster.wait("the jump is counted") {
                for node in cluster.nodes {
                    guard await node.gossip().counters["clockJumps"] == 1 else { return false }
                }
                return true
            }
            wall.withLock { $0 -= .seconds(7_200) }
            try await TestCluster.wait("the jump back too") {
                await cluster.nodes[0].gossip().counters["clockJumps"] == 2
            }
            wall.withLock { $0 += .seconds(3_600) }
            try await TestCluster.wait("and the third") {
                await cluster.nodes[0].gossip().counters["clockJumps"] == 3
            }
            #expect(cluster.logs[0].lines(with: "clock was set") == [Self.jumpLine])
            let counters = await cluster.nodes[0].gossip().counters
            #expect(counters["members.deaths"] == 0)
            #expect(counters["sent.bytesOf.probing"] ?? 0 > 0)
            #expect(counters["cacheMap.fetches"] != nil && counters["links.violated"] == 0)
        }
    }

    @Test func `bad cache announcements, and word that finds no room, are counted and logged once`() async throws {
        try await TestCluster.with(1) { cluster in
            let (node, log) = (cluster.nodes[0], cluster.logs[0])
            await node.cluster.flood(.delivered([255], PeerID(rawValue: 7)), count: 4 * ClusterShell.newsMax)
            try await TestCluster.wait("the announcements were looked at") {
                await node.gossip().counters["cacheMap.malformed"] ?? 0 > 1
            }
            #expect(await node.gossip().counters["newsDropped"] ?? 0 > 1)
            #expect(log.lines(with: "word of the cluster was dropped").count == 1)
            #expect(log.lines(with: "a cache announcement that no member writes is dropped").count == 1)
        }
    }

    @Test func `a key that is found on its node is published again, though the budget was for others`() async throws {
        // Some 16 keys.
        try await TestCluster.with(2, change: { $0.mapBudget = 18 }) { cluster in
            let (owner, reader) = (cluster.nodes[0], cluster.nodes[1])
            let keys = (0..<40).map { CacheKey(Digest.of(Array("key \($0)".utf8))) }
            var entries: [MapEntry] = []
            for (number, key) in keys.enumerated() {
                let entry = MapEntry(key: key, cost: Double(number + 1), lastUsed: 1)
                try owner.store.store(
                    CacheRecord(
                        key: key, canonicalKey: key, outputs: [nil], created: 1, lastUsed: 1, cost: entry.cost,
                        description: "step \(number)"))
                entries.append(entry)
            }
            await owner.digests.add(entries)
            try await TestCluster.wait("the reader knows of the costliest") {
                await reader.digests.holders(of: keys[39]) == [owner.selfID]
            }
            #expect(await owner.records.find(keys[0]) != nil)
            try await TestCluster.wait("the reader knows of the one that was used") {
                await reader.digests.holders(of: keys[0]) == [owner.selfID]
            }
            try owner.store.flush()
            #expect(try owner.store.record(for: keys[0])?.lastUsed ?? 0 > 1)
            #expect(try owner.store.record(for: keys[1])?.lastUsed == 1)
        }
    }

    @Test func `a node that has only the new key shares digests with those that keep the old map key`() async throws {
        let (old, new) = (try ClusterKey.generate(), try ClusterKey.generate())
        try await TestCluster.with(
            2,
            keys: { number in
                guard number == 0 else { return ClusterKeyRing(primary: new) }
                var ring = ClusterKeyRing(primary: old, others: [new])
                try ring.use(new.fingerprint)
                return ring
            }
        ) { cluster in
            let (home, late) = (cluster.nodes[0], cluster.nodes[1])
            #expect(home.settings.keys.mapKey != late.settings.keys.mapKey)
            let definition = try TestGraph.chain(["echo 1 > /1"])
            let handle = try await home.beginBuild(
                BuildRequest(reference: "b", session: cluster.session("s")))
            _ = try await handle.finish(BuildResult(references: .single(try await handle.load(definition))))
            let keys = try home.store.mapEntries().map(\.key)
            #expect(!keys.isEmpty)
            try await TestCluster.wait("the late node knows what the other holds") {
                for key in keys {
                    guard await late.digests.holders(of: key) == [home.selfID] else { return false }
                }
                return true
            }
            #expect(await late.gossip().keys.count == 2)
        }
    }
}
