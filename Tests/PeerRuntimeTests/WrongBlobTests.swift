import ClusterModel
import Foundation
import Gossip
import Logging
import OCI
import Registry
import Synchronization
import Testing
import Worker

@testable import PeerRuntime

/// What a node makes of peers that give wrong bytes of a registry's blob, or not all of it, while the registry is down.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct WrongBlobTests {
    @Test func `a holder of wrong bytes is passed over, and asked last from then on`() async throws {
        try await Bench.with { bench in
            let blob = bench.blob(seed: 1)
            var damaged = blob.bytes
            damaged[7] ^= 1
            try blob.store(at: bench.first, as: damaged)
            try blob.store(at: bench.second)
            try await bench.share.bring(blob.descriptor, from: bench.source)
            #expect(try blob.stored(at: bench.puller) == blob.bytes)
            #expect(bench.dialer.asked == [bench.first.selfID, bench.second.selfID])
            #expect(bench.share.standing.demotedPeers == [bench.first.selfID])

            let later = bench.blob(seed: 2)
            for node in [bench.first, bench.second] { try later.store(at: node) }
            try await bench.share.bring(later.descriptor, from: bench.source)
            #expect(try later.stored(at: bench.puller) == later.bytes)
            #expect(bench.dialer.asked.dropFirst(2) == [bench.second.selfID])
        }
    }

    @Test func `a wrong beginning from a peer that breaks off neither spoils the rest nor costs anybody's standing`()
        async throws
    {
        try await Bench.with { bench in
            let blob = bench.blob(seed: 3)
            bench.dialer.breakOff(bench.first.selfID, [UInt8](repeating: 0, count: blob.bytes.count))
            try blob.store(at: bench.second)
            try await bench.share.bring(blob.descriptor, from: bench.source)
            #expect(try blob.stored(at: bench.puller) == blob.bytes)
            #expect(bench.dialer.asked.last == bench.second.selfID)
            #expect(bench.share.standing.demotedPeers.isEmpty)
        }
    }

    @Test func `a right beginning from a peer that breaks off is kept`() async throws {
        try await Bench.with { bench in
            let blob = bench.blob(seed: 4)
            bench.dialer.breakOff(bench.first.selfID, blob.bytes)
            try blob.store(at: bench.second)
            try await bench.share.bring(blob.descriptor, from: bench.source)
            #expect(try blob.stored(at: bench.puller) == blob.bytes)
            #expect(bench.share.counters.current.layerBytesPulled == UInt64(blob.bytes.count))
            #expect(bench.share.standing.demotedPeers.isEmpty)
        }
    }

    @Test(arguments: [UInt64.max, 1 << 63, 100_001])
    func `a peer that asks for bytes behind the end of a blob is refused`(offset: UInt64) async throws {
        try await Bench.with { bench in
            let blob = bench.blob(seed: 5)
            try blob.store(at: bench.first)
            let (near, far) = MemoryStream.pair()
            let ask = ShareMessage.Ask(
                mode: .hold, blob: blob.descriptor, offset: offset, repository: bench.source.reference.name)
            try await near.send(ShareMessage.ask(ask).encoded)
            try await bench.first.services.images.serve(far)
            let answer = try await near.receive()
            guard case .refused = try ShareMessage(decoding: try #require(answer)) else {
                Issue.record("it is served")
                return
            }
        }
    }
}

/// A blob of 100,000 bytes.
private struct Blob: Sendable {
    let bytes: [UInt8]
    let digest: Digest

    var descriptor: Descriptor { Descriptor(mediaType: "application/x", digest: digest, size: Int64(bytes.count)) }

    private func url(at node: Node) -> URL {
        URL(fileURLWithPath: node.settings.root + "/content/blobs/sha256/" + digest.hex)
    }

    /// Puts the blob's bytes, or others under its name, into a node's store.
    func store(at node: Node, as other: [UInt8]? = nil) throws { try Data(other ?? bytes).write(to: url(at: node)) }

    func stored(at node: Node) throws -> [UInt8] { [UInt8](try Data(contentsOf: url(at: node))) }
}

/// A node that pulls blobs, and two others.
private struct Bench: Sendable {
    let puller: Node
    let first: Node
    let second: Node
    let dialer: BreakingDialer
    let share: ImageShare
    let source: SharedSource

    static func with(_ body: @escaping @Sendable (Bench) async throws -> Void) async throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let registry = RegistryClient(configuration: RegistryConfiguration(), logger: logger)
        do {
            try await with(registry, logger, body)
        } catch {
            try await registry.shutdown()
            throw error
        }
        try await registry.shutdown()
    }

    private static func with(
        _ registry: RegistryClient, _ logger: Logger, _ body: @escaping @Sendable (Bench) async throws -> Void
    ) async throws {
        // Nothing listens there.
        let reference = try Reference(parsing: "127.0.0.1:1/team/base:1")
        let provider = RegistryBlobs(registry.repository(of: reference, credentials: AnonymousAccess()))
        let source = SharedSource(reference: reference, provider: provider, credentials: AnonymousAccess())
        try await TestCluster.with(3) { cluster in
            let dialer = BreakingDialer(cluster.nodes[0].cluster)
            let share = ImageShare(
                content: cluster.nodes[0].parts.blobs, registry: registry, resolutions: ResolutionCache(),
                dialer: dialer, counters: RuntimeCounters(), standing: HolderStanding(), logger: logger)
            try await body(
                Bench(
                    puller: cluster.nodes[0], first: cluster.nodes[1], second: cluster.nodes[2], dialer: dialer,
                    share: share, source: source))
        }
    }

    /// A blob for which `first` is asked before `second`.
    func blob(seed: UInt64) -> Blob {
        var random = SplitMix64(seed: seed)
        while true {
            let bytes = (0..<100_000).map { _ in UInt8.random(in: 0...UInt8.max, using: &random) }
            let digest = Digest.of(bytes)
            if RendezvousHash.owner(of: digest, among: [first.selfID, second.selfID]) == first.selfID {
                return Blob(bytes: bytes, digest: digest)
            }
        }
    }
}

/// A node's dialer that notes who was asked, and in the place of a peer gives a few bytes and breaks off.
private final class BreakingDialer: PeerDialer {
    private static let bytesGiven = 1_000

    private let real: any PeerDialer
    private let peers = Mutex<[PeerID]>([])
    private let contents = Mutex<[PeerID: [UInt8]]>([:])

    init(_ real: any PeerDialer) { self.real = real }

    var asked: [PeerID] { peers.withLock { $0 } }

    /// From now on this peer breaks off; what it gives until then is of `content`.
    func breakOff(_ peer: PeerID, _ content: [UInt8]) { contents.withLock { $0[peer] = content } }

    var selfID: PeerID { real.selfID }
    var livePeers: [Member] { real.livePeers }
    func name(of peer: PeerID) -> String { real.name(of: peer) }

    func open(_ service: PeerService, to peer: PeerID, priority: StreamPriority) async throws -> any PeerStream {
        peers.withLock { $0.append(peer) }
        guard let content = contents.withLock({ $0[peer] }) else {
            return try await real.open(service, to: peer, priority: priority)
        }
        let (near, far) = MemoryStream.pair()
        Task { await Self.give(some: content, on: far) }
        return near
    }

    private static func give(some content: [UInt8], on stream: MemoryStream) async {
        defer { stream.reset() }
        guard let message = try? await stream.receive(), case .ask(let ask)? = try? ShareMessage(decoding: message)
        else { return }
        let some = [UInt8](content.dropFirst(Int(ask.offset)).prefix(bytesGiven))
        try? await stream.send(ShareMessage.bytes(some).encoded)
    }
}
