import BuildSession
import CacheMap
import ClusterModel
import Foundation
import Gossip
import LLB
import Logging
import OCI
import Snapshots
import Solver
import SwiftProtobuf
import Synchronization
import Testing

@testable import PeerRuntime

/// What a node that pulls, or waits to, does for the layers that it has not come to.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct PullingTests {
    /// A layer on a node with one file.
    private func layer(_ name: String, at node: Node, over chain: LayerChain = .scratch) throws -> LayerChain {
        let work = try node.parts.snapshots.prepare(over: chain)
        try Data(repeating: 7, count: 300_000).write(to: URL(fileURLWithPath: work.path + "/" + name))
        return chain.appending(try #require(try node.parts.snapshots.commit(work)))
    }

    private func fetcher(of node: Node, _ dialer: WatchedDialer, period: Duration) -> LayerFetcher {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return LayerFetcher(
            snapshots: node.parts.snapshots, blobs: node.parts.blobs, dialer: dialer, counters: RuntimeCounters(),
            leases: LeaseRenewal(dialer: dialer, period: period, logger: logger), logger: logger)
    }

    @Test func `leases are renewed in time, with one question to spare`() {
        #expect(LeaseRenewal.periodDefault * 3 < PeerServices.leaseTime)
        #expect(LeaseRenewal.periodDefault * 3 < .nanoseconds(Int64(LeaseTable.lifetime.nanoseconds)))
    }

    @Test func `a pull that takes long renews the leases on what it has not come to`() async throws {
        try await TestCluster.with(2) { cluster in
            let (puller, holder) = (cluster.nodes[0], cluster.nodes[1])
            let chain = try layer("second", at: holder, over: try layer("first", at: holder))
            let dialer = WatchedDialer(puller.cluster)
            // No layer comes before the holder has been asked three times to keep both.
            dialer.opens = { service, _ in
                guard service == .layer else { return }
                try await TestCluster.wait("leases are renewed") { dialer.count(of: .lease) >= 3 }
                for layer in chain.layers { #expect(holder.parts.snapshots.isNeeded(layer.id)) }
            }
            let held = HeldLayers(puller.parts.snapshots)
            defer { held.release() }
            for layer in chain.layers { #expect(!holder.parts.snapshots.isNeeded(layer.id)) }
            let input = Assignment.Input(chain: chain, holders: [holder.selfID])
            let tree = try await fetcher(of: puller, dialer, period: .milliseconds(20))
                .hold(TreeReading(tree: input, selections: nil), in: held)
            #expect(tree == chain && chain.layers.allSatisfy { puller.parts.snapshots.contains($0.id) })
        }
    }

    @Test func `a home keeps a result where it is while it waits for another branch`() async throws {
        let change = { @Sendable (parameters: inout NodeParameters) in
            parameters.leaseRenewalPeriod = .milliseconds(50)
        }
        try await TestCluster.with(2, change: change) { cluster in
            let (home, executor) = (cluster.nodes[0], cluster.nodes[1])
            try await home.setDraining(node: "n0", true)
            var graph = TestGraph()
            let root = graph.directory()
            let quick = graph.run("echo made > /quick", on: root)
            let slow = graph.run("sleep 1000", on: root)
            let target = graph.run("cat /side/quick", on: slow, reading: quick)
            let handle = try await home.beginBuild(BuildRequest(reference: "b", session: cluster.session("s")))
            let reference = try await handle.load(try graph.definition(for: target))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    await #expect(throws: (any Error).self) {
                        try await handle.finish(BuildResult(references: .single(reference)))
                    }
                }
                let store = executor.parts.snapshots
                func made() throws -> Digest? {
                    try store.list().first {
                        FileManager.default.fileExists(atPath: store.contentPath(of: $0) + "/quick")
                    }
                }
                try await TestCluster.wait("the quick branch is kept") { try made().map(store.isNeeded) ?? false }
                let key = "services.lease.streamsAccepted"
                let before = await executor.links().counters[key] ?? 0
                try await TestCluster.wait("it is kept again and again") {
                    await executor.links().counters[key] ?? 0 >= before + 3
                }
                // A collection of all that can be done without leaves it.
                let all = try await executor.diskUsage().records
                let quickLayer = try #require(try made())
                let removed = try await executor.removeUsage(ids: all.map(\.id))
                #expect(!removed.contains { $0.id == quickLayer.hex } && store.contains(quickLayer))
                await handle.abandon(reason: "test")
                try await group.waitForAll()
            }
            let held = await home.parts.solver.held
            #expect(held == (vertices: 0, builds: 0))
        }
    }

    @Test func `a pull that a step waits for takes over from one that came early`() async throws {
        try await TestCluster.with(2) { cluster in
            let (node, holder) = (cluster.nodes[0], cluster.nodes[1])
            let chain = try layer("wanted", at: holder)
            let dialer = WatchedDialer(node.cluster)
            // What comes early never gets its turn on the link.
            dialer.opens = { service, priority in
                guard service == .layer, priority == .prefetch else { return }
                try await Task.sleep(for: TestCluster.patience * 10)
            }
            let fetcher = fetcher(of: node, dialer, period: LeaseRenewal.periodDefault)
            let prefetcher = Prefetcher(fetcher, jobs: node.jobs)
            let reading = TreeReading(tree: Assignment.Input(chain: chain, holders: [holder.selfID]), selections: nil)
            prefetcher.add([reading])
            try await TestCluster.wait("it comes early") { dialer.count(of: .layer) == 1 }

            let known = node.services.execution.executor
            let executor = Executor(
                operations: known.operations, records: known.records, claims: known.claims, fetcher: fetcher,
                prefetcher: prefetcher, slots: known.slots, dialer: dialer, counters: known.counters,
                logger: known.logger)
            let outcome = try await withDeadline(TestCluster.patience, timeout: PeerCallError.ended) {
                try await executor.execute(Self.makeDirectory(in: reading.tree), Self.noObserver)
            }
            guard case .finished(let record, false, let moved, _) = outcome else {
                Issue.record("the step ends in \(outcome)")
                return
            }
            #expect(record.result.outputs.first??.layers.first == chain.layers.first)
            #expect(moved.pulled == 300_000 && moved.prefetched == 0 && moved.served == [holder.selfID: 300_000])
            #expect(dialer.priorities(of: .layer) == [.prefetch, .pull])
        }
    }

    @Test func `what came early counts with the step that reads it, once`() async throws {
        try await TestCluster.with(2) { cluster in
            let (node, holder) = (cluster.nodes[0], cluster.nodes[1])
            let chain = try layer("wanted", at: holder)
            let dialer = WatchedDialer(node.cluster)
            let prefetcher = Prefetcher(fetcher(of: node, dialer, period: .seconds(8)), jobs: node.jobs)
            let input = Assignment.Input(chain: chain, holders: [holder.selfID])
            prefetcher.add([TreeReading(tree: input, selections: nil)])
            var moved = MovedBytes()
            try await TestCluster.wait("it has come") {
                moved = prefetcher.claim(chain)
                return moved.pulled > 0
            }
            #expect(moved.pulled == 300_000 && moved.prefetched == 300_000, "\(moved)")
            #expect(moved.served == [holder.selfID: 300_000])
            #expect(prefetcher.claim(chain) == MovedBytes())
        }
    }

    @Test func `what an export pulls is not collected before it is done, and then it can be`() async throws {
        try await TestCluster.with(2) { cluster in
            let (puller, holder) = (cluster.nodes[0], cluster.nodes[1])
            let chain = try layer("second", at: holder, over: try layer("first", at: holder))
            let layers = chain.layers.map(\.id)
            let dialer = WatchedDialer(puller.cluster)
            // A collection of all that can be done without, each time that a layer is to come.
            dialer.opens = { service, _ in
                guard service == .layer else { return }
                _ = try await puller.removeUsage(ids: layers.map(\.hex))
            }
            let push = ImagePush(
                loader: puller.parts.loader, registry: puller.parts.pushes.push.registry,
                fetcher: fetcher(of: puller, dialer, period: LeaseRenewal.periodDefault))
            let item = ImagePush.Item(
                platform: .host, tree: Assignment.Input(chain: chain, holders: [holder.selfID]), config: nil,
                baseConfig: nil)
            let request = ImagePush.Request(build: "b", items: [item], attributes: [:], metadata: [:], session: nil)
            let outcome = try await push.run(request) { _, _, _, _, _ in }
            #expect(outcome.response["containerimage.digest"] != nil)
            #expect(dialer.count(of: .layer) >= 2)
            let store = puller.parts.snapshots
            #expect(layers.allSatisfy { store.contains($0) && !store.isNeeded($0) })
            _ = try await puller.removeUsage(ids: layers.map(\.hex))
            #expect(!layers.contains { store.contains($0) })
        }
    }

    @Test func `a result that comes to be read is not collected while its last layers arrive`() async throws {
        try await TestCluster.with(2) { cluster in
            let home = cluster.nodes[0]
            try await home.setDraining(node: "n0", true)
            let (parts, dialer) = (home.parts, WatchedDialer(home.cluster))
            dialer.opens = { service, _ in
                guard service == .layer else { return }
                _ = try await home.removeUsage(ids: try await home.diskUsage().records.map(\.id))
            }
            let watched = NodeParts(
                dialer: parts.dialer, solver: parts.solver, snapshots: parts.snapshots, blobs: parts.blobs,
                fetcher: fetcher(of: home, dialer, period: LeaseRenewal.periodDefault), loader: parts.loader,
                pushes: parts.pushes, metadata: parts.metadata, exportDirectory: parts.exportDirectory,
                platforms: parts.platforms, logger: parts.logger)
            let session = cluster.session("s")
            let build = Build(BuildRequest(reference: "b", session: session), node: watched) { _ in }
            await parts.solver.begin(
                "b", SolverShell.Client(session: session, entitlements: [], progress: build.progress))
            let reference = try await build.load(try TestGraph.chain(["echo 1 > /1", "echo 2 > /2"]))
            let text = try await build.readFile(reference, path: "/1", range: nil)
            #expect(String(decoding: text, as: UTF8.self) == "1\n")
            #expect(dialer.count(of: .layer) >= 2)
            await build.abandon(reason: "test")
        }
    }

    private static let noObserver = Execution.Observer(
        started: {}, log: { _, _ in }, progress: { _, _, _, _, _ in })

    /// A step that needs all of a tree.
    private static func makeDirectory(in tree: Assignment.Input) -> Execution {
        var operation = Pb_Op()
        operation.inputs = [Pb_Input()]
        operation.file.actions = [
            .with {
                $0.input = 0
                $0.secondaryInput = -1
                $0.output = 0
                $0.mkdir.path = "/made"
                $0.mkdir.mode = 0o755
                $0.mkdir.timestamp = -1
            }
        ]
        return Execution(
            build: "b", operation: operation, resources: nil, name: "mkdir /made",
            key: CacheKey(Digest.of(Array("mkdir".utf8))), aliases: [], inputs: [tree], entitlements: [], session: nil,
            ignoresCache: true, priority: .local)
    }
}

/// A node's dialer that a test watches, and may hold up.
private final class WatchedDialer: PeerDialer {
    private let real: any PeerDialer
    private let opened = Mutex<[(service: PeerService, priority: StreamPriority)]>([])
    private let hook = Mutex<@Sendable (PeerService, StreamPriority) async throws -> Void>({ _, _ in })

    init(_ real: any PeerDialer) { self.real = real }

    /// Awaited before a stream is opened.
    var opens: @Sendable (PeerService, StreamPriority) async throws -> Void {
        get { hook.withLock { $0 } }
        set { hook.withLock { $0 = newValue } }
    }

    func count(of service: PeerService) -> Int { priorities(of: service).count }
    func priorities(of service: PeerService) -> [StreamPriority] {
        opened.withLock { $0.filter { $0.service == service }.map(\.priority) }
    }

    var selfID: PeerID { real.selfID }
    var livePeers: [Member] { real.livePeers }
    func name(of peer: PeerID) -> String { real.name(of: peer) }

    func open(_ service: PeerService, to peer: PeerID, priority: StreamPriority) async throws -> any PeerStream {
        opened.withLock { $0.append((service, priority)) }
        try await opens(service, priority)
        return try await real.open(service, to: peer, priority: priority)
    }
}
