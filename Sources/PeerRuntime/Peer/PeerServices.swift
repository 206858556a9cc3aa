internal import CacheMap
internal import ClusterModel
internal import ContentStore
internal import Foundation
internal import Logging
internal import OCI
internal import Snapshots
internal import Solver
internal import SwiftProtobuf

/// Serves the streams that peers open.
struct PeerServices: Sendable {
    /// Keys in one "have" question.
    static let keysMax = 1_024
    /// What a peer is told of stays so long: time to decide, to open a stream, and for the first request.
    static let leaseTime = Duration.seconds(30)
    /// Longest time between the start of a pull's stream and the name of what is pulled, which a puller sends at once:
    /// meanwhile the stream is one of those that are served.
    static let pullRequestLimit = Duration.seconds(10)

    let cluster: ClusterShell
    let digests: CacheMapShell
    let keys: KeyShell
    let records: RecordIndex
    let board: ClaimBoard
    let execution: ExecutionService
    let pushes: ImagePushService
    let sessions: SessionService
    let contents: ContentDigests
    let snapshots: SnapshotStore
    let blobs: ContentStore
    let images: ImageShare
    let slots: Slots
    let counters: RuntimeCounters
    let logger: Logger
    private let calls = PeerCallLog()

    func serve(_ name: String, from peer: PeerID, _ stream: any PeerStream) async {
        guard let service = PeerService(rawValue: name) else {
            calls.note(
                .unknownService(peer), logger, .warning, "a peer asks for an unknown service",
                ["service": "\(name)", "from": "\(peer)"])
            stream.reset()
            return
        }
        do {
            try await serve(service, stream)
        } catch {
            calls.note(
                .failure(service, peer), logger, .debug, "a call of a peer failed",
                ["service": "\(name)", "from": "\(cluster.name(of: peer))", "error": "\(error)"])
            stream.reset()
        }
    }

    private func serve(_ service: PeerService, _ stream: any PeerStream) async throws {
        switch service {
        case .have: try await have(stream)
        case .claim: try await board.serve(stream)
        case .offer: try await offer(stream)
        case .execute: try await execution.serve(stream)
        case .export: try await pushes.serve(stream)
        case .session: try await sessions.serve(stream)
        case .content: try await content(stream)
        case .lease: try await lease(stream)
        case .prefetch: try await prefetch(stream)
        case .layer: try await layer(stream)
        case .blob: try await blob(stream)
        case .image: try await images.serve(stream)
        case .digests: try await digests.serve(stream)
        case .gossip: try await cluster.serveExchange(stream)
        case .keys: try await keys.serve(stream)
        }
    }

    private func have(_ stream: any PeerStream) async throws {
        let request = try await stream.receive(Peerbuild_Peer_V1_HaveRequest.self)
        guard request.keys.count <= Self.keysMax else { throw PeerCallError.malformed("\(request.keys.count) keys") }
        var response = Peerbuild_Peer_V1_HaveResponse()
        for bytes in request.keys {
            let leased = records.lease(CacheKey(try PeerMessage.digest(bytes)))
            if let leased {
                snapshots.lease(
                    leased.record.result.outputs.flatMap { $0?.layers.map(\.id) ?? [] }, for: Self.leaseTime)
            }
            response.records.append(leased.map { PeerMessage.record($0.record) } ?? Peerbuild_Peer_V1_Record())
        }
        try await stream.send(response)
        await stream.finish()
    }

    /// A question by datagram.
    func answer(_ request: HaveRequest) -> HaveAnswer {
        let load = slots.current
        return HaveAnswer(
            number: request.number, sizes: request.keys.map { records.lease($0)?.bytes },
            leaseMilliseconds: UInt32(LeaseTable.lifetime.nanoseconds / 1_000_000),
            running: UInt16(clamping: load.running), queued: UInt16(clamping: load.queued))
    }

    private func offer(_ stream: any PeerStream) async throws {
        let request = try await stream.receive(Peerbuild_Peer_V1_OfferRequest.self)
        guard request.layers.count <= PeerMessage.layersMax * PeerMessage.outputsMax else {
            throw PeerCallError.malformed("\(request.layers.count) layers")
        }
        var missing: [LayerDescriptor] = []
        var holdsPrimary = request.primary > 0
        for (index, message) in request.layers.enumerated() {
            let layer = try PeerMessage.layer(message)
            guard !snapshots.contains(layer.id) else { continue }
            missing.append(layer)
            if index < Int(request.primary) { holdsPrimary = false }
        }
        let load = slots.current
        let answer = Peerbuild_Peer_V1_OfferResponse.with {
            $0.slots = UInt32(slots.count)
            $0.running = UInt32(load.running)
            $0.queued = UInt32(load.queued)
            $0.draining = cluster.isDraining
            $0.missingBytes = missing.totalBytes
            $0.holdsPrimary = holdsPrimary
            $0.speed = 1
        }
        try await stream.send(answer)
        await stream.finish()
    }

    private func content(_ stream: any PeerStream) async throws {
        let request = try await stream.receive(Peerbuild_Peer_V1_ContentRequest.self)
        let selections = request.selections.map(PeerMessage.selection)
        var response = Peerbuild_Peer_V1_ContentResponse()
        let chain = try PeerMessage.chain(request.chain) ?? .scratch
        do {
            response.digest = Data(try contents.digest(chain, selections).bytes)
        } catch {
            response.error = "\(error)"
        }
        try await stream.send(response)
        await stream.finish()
    }

    private func prefetch(_ stream: any PeerStream) async throws {
        let message = try await stream.receive(Peerbuild_Peer_V1_Prefetch.self)
        execution.executor.prefetcher.add([try PeerMessage.prefetch(message)])
        await stream.finish()
    }

    private func lease(_ stream: any PeerStream) async throws {
        let request = try await stream.receive(Peerbuild_Peer_V1_LeaseRequest.self)
        guard request.layers.count <= PeerMessage.layersMax else {
            throw PeerCallError.malformed("\(request.layers.count) layers")
        }
        let layers = records.lease(layers: try request.layers.map(PeerMessage.digest))
        try await stream.send(Peerbuild_Peer_V1_LeaseResponse.with { $0.leased = UInt32(layers.count) })
        await stream.finish()
    }

    /// Of what is to be pulled.
    private func pulled(_ stream: any PeerStream) async throws -> Digest {
        let late = PeerCallError.malformed("no name of what it pulls for \(Self.pullRequestLimit)")
        let request = try await withDeadline(Self.pullRequestLimit, timeout: late) {
            try await stream.receive(Peerbuild_Peer_V1_PullRequest.self)
        }
        return try PeerMessage.digest(request.digest)
    }

    private func layer(_ stream: any PeerStream) async throws {
        let id = try await pulled(stream)
        guard snapshots.contains(id) else {
            stream.reset()
            return
        }
        let counters = counters
        try await snapshots.serveLayer(id, on: stream) { counters.add(\.layerBytesServed, UInt64($0)) }
    }

    private func blob(_ stream: any PeerStream) async throws {
        let digest = try await pulled(stream)
        guard blobs.contains(digest) else {
            stream.reset()
            return
        }
        counters.add(\.layerBytesServed, UInt64(try blobs.size(of: digest)))
        try await blobs.serveBlob(digest, on: stream)
    }
}
