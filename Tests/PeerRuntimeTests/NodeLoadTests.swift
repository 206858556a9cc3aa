import CacheMap
import ClusterModel
import Foundation
import Glibc
import Gossip
import OCI
import Synchronization
import Testing

@testable import PeerRuntime

/// What nodes hear of each other's machines, over packets of each size, and after a machine went back in time.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct NodeLoadTests {
    /// Keeps half the processors busy, in turns that leave the nodes their own.
    private static func toil() async {
        await withDiscardingTaskGroup { group in
            for _ in 0..<max(1, ProcessInfo.processInfo.activeProcessorCount / 2) {
                group.addTask {
                    var random = SplitMix64(seed: 1)
                    while !Task.isCancelled {
                        for _ in 0..<10_000 { _ = random.next() }
                        await Task.yield()
                    }
                }
            }
        }
    }

    @Test func `a node knows how busy another one's machine is, and what memory and disk it has`() async throws {
        try await TestCluster.with(2) { cluster in
            let (one, other) = (cluster.nodes[0], cluster.nodes[1])
            let seen = { @Sendable () async throws -> MemberView in
                let members = await one.members()
                return try #require(members.first { $0.id == "\(other.selfID)" })
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await Self.toil() }
                defer { group.cancelAll() }
                try await TestCluster.wait("the other's load has come") {
                    let view = try await seen()
                    return view.cpuBusy > 0 && view.memoryFree > 0 && view.diskFree > 0
                }
            }
            let view = try await seen()
            #expect(view.cpuBusy <= 1)
            #expect(view.memoryFree <= ProcessInfo.processInfo.physicalMemory)
            var disk = statvfs()
            let code = statvfs(other.settings.root, &disk)
            #expect(code == 0)
            #expect(view.diskFree <= UInt64(disk.f_blocks) * UInt64(disk.f_frsize))
            let age = try #require(view.loadAgeSeconds)
            #expect(age >= 0)
            let member = try #require(one.cluster.livePeers.first)
            #expect(Int(member.load.platform) == other.settings.platforms.firstIndex(of: .host))
        }
    }

    @Test(arguments: [512, 1_400])
    func `nodes with packets of another size know each other's keys`(limit: Int) async throws {
        try await TestCluster.with(3, change: { $0.packetLimit = limit }) { cluster in
            let home = cluster.nodes[0]
            let handle = try await home.beginBuild(BuildRequest(reference: "b", session: cluster.session("s")))
            let definition = try TestGraph.chain(["echo 1 > /1"])
            _ = try await handle.finish(BuildResult(references: .single(try await handle.load(definition))))
            var keys: [(owner: Node, key: CacheKey)] = []
            for node in cluster.nodes {
                for entry in try node.store.mapEntries() { keys.append((owner: node, key: entry.key)) }
            }
            let held = keys
            #expect(!held.isEmpty)
            try await TestCluster.wait("each knows what the others hold") {
                for (owner, key) in held {
                    for node in cluster.nodes where node.selfID != owner.selfID {
                        guard await node.digests.holders(of: key).contains(owner.selfID) else { return false }
                    }
                }
                return true
            }
            // What is known may have come by streams alone until now.
            try await TestCluster.wait("each has sent datagrams") {
                for node in cluster.nodes {
                    guard await node.gossip().counters["datagrams.out", default: 0] > 0 else { return false }
                }
                return true
            }
            for node in cluster.nodes {
                let counters = await node.gossip().counters
                let (count, bytes) = (counters["datagrams.out"] ?? 0, counters["datagrams.bytesOut"] ?? 0)
                #expect(bytes <= count * UInt64(limit))
                #expect(counters["dropped.tooLong"] == 0)
            }
        }
    }

    @Test func `a node whose wall clock went minutes ahead of its running time goes on as if restarted`() async throws {
        let ahead = Mutex(Duration.seconds(1_000_000))
        let origin = ContinuousClock.now
        let readWall: @Sendable () -> Duration = {
            ahead.withLock { $0 } + origin.duration(to: .now)
        }
        try await TestCluster.with(2, change: { if $0.name == "n1" { $0.wallClock = readWall } }) { cluster in
            let (home, restored) = (cluster.nodes[0], cluster.nodes[1])
            let boot = try #require(home.cluster.livePeers.first).bootID
            ahead.withLock { $0 += .seconds(20) }
            try await TestCluster.wait("the step is counted") {
                await restored.gossip().counters["clockJumps"] == 1
            }
            #expect(await restored.gossip().counters["bootsTaken"] == 0)
            ahead.withLock { $0 += .seconds(300) }
            try await TestCluster.wait("the other hears of the new boot") {
                home.cluster.livePeers.first.map { $0.bootID > boot } == true
            }
            #expect(await restored.gossip().counters["bootsTaken"] == 1)
            try await TestCluster.wait("it says why") {
                cluster.logs[1].lines(with: "as after a restored snapshot").count == 1
            }
            // It does what it did before, and was never given up.
            try await home.setDraining(node: "n0", true)
            let handle = try await home.beginBuild(BuildRequest(reference: "b", session: cluster.session("s")))
            let definition = try TestGraph.chain(["echo 1 > /1"])
            _ = try await handle.finish(BuildResult(references: .single(try await handle.load(definition))))
            let report = try #require(await home.report(ofBuild: "b"))
            #expect(report.vertices.contains { $0.outcome == .executed && $0.node == "n1" })
            #expect(await home.gossip().counters["members.deaths"] == 0)
        }
    }
}
