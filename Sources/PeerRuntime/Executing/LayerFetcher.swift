internal import ClusterModel
internal import ContentStore
internal import Foundation
internal import Gossip
internal import Logging
internal import OCI
internal import Snapshots
internal import SwiftProtobuf
internal import Synchronization

/// Layers that cannot be had: nobody who is known to hold them answers with the right bytes.
struct LayersUnavailable: Error, CustomStringConvertible {
    var layer: Digest
    var asked: Int

    var description: String {
        "no node gives layer \(layer) (asked \(asked)); the step that makes it has to run again"
    }
}

/// Brings what this node lacks from the nodes that hold it, directly.
struct LayerFetcher: Sendable {
    let snapshots: SnapshotStore
    let blobs: ContentStore
    let dialer: any PeerDialer
    let counters: RuntimeCounters
    let logger: Logger

    /// Makes all layers of `chain` local; returns the bytes that crossed the network for it.
    @discardableResult
    func fetch(_ chain: LayerChain, from holders: [PeerID]) async throws -> Int64 {
        var bytes: Int64 = 0
        for layer in chain.layers where !snapshots.contains(layer.id) {
            bytes += try await fetch(layer, from: holders)
        }
        return bytes
    }

    private func fetch(_ layer: LayerDescriptor, from holders: [PeerID]) async throws -> Int64 {
        let known = holders.filter { $0 != dialer.selfID && dialer.isLive($0) }
        // Nodes that are not known to hold it may do so all the same: a question costs one round trip.
        let others = dialer.livePeers.map(\.id).filter { !known.contains($0) }
        var asked = 0
        for peer in known + others {
            try Task.checkCancellation()
            asked += 1
            do {
                let stream = try await dialer.open(.layer, to: peer)
                let pulled = ByteCount()
                try await withTaskCancellationHandler {
                    defer { stream.reset() }
                    try await stream.send(Peerbuild_Peer_V1_PullRequest.with { $0.digest = Data(layer.id.bytes) })
                    try await snapshots.pullLayer(layer.id, from: stream) { pulled.add($0) }
                } onCancel: {
                    stream.reset()
                }
                counters.add(\.layerBytesPulled, UInt64(max(0, pulled.value)))
                return pulled.value
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                try Task.checkCancellation()
                logger.debug(
                    "a layer could not be pulled",
                    metadata: ["layer": "\(layer.id)", "node": "\(dialer.name(of: peer))", "error": "\(error)"])
            }
        }
        throw LayersUnavailable(layer: layer.id, asked: asked)
    }

    /// Pulls a blob from any peer that has it; false when none does.
    func fetchBlob(_ blob: Descriptor) async throws -> Bool {
        if blobs.contains(blob.digest) { return true }
        for peer in dialer.livePeers.map(\.id) {
            try Task.checkCancellation()
            do {
                let stream = try await dialer.open(.blob, to: peer)
                let pulled = ByteCount()
                try await withTaskCancellationHandler {
                    defer { stream.reset() }
                    try await stream.send(Peerbuild_Peer_V1_PullRequest.with { $0.digest = Data(blob.digest.bytes) })
                    try await self.blobs.pullBlob(blob.digest, from: stream) { pulled.add($0) }
                } onCancel: {
                    stream.reset()
                }
                counters.add(\.layerBytesPulled, UInt64(max(0, pulled.value)))
                return true
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                continue
            }
        }
        return false
    }
}

/// Bytes that arrived, counted by the callbacks of a pull.
private final class ByteCount: Sendable {
    private let count = Mutex<Int64>(0)

    func add(_ bytes: Int64) { count.withLock { $0 += bytes } }
    var value: Int64 { count.withLock { $0 } }
}
