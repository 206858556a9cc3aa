internal import ClusterModel
internal import ContentStore
internal import Foundation
internal import Gossip
internal import Logging
internal import OCI
internal import Snapshots
internal import SwiftProtobuf
internal import Synchronization
internal import Transfer

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
    let leases: LeaseRenewal
    let logger: Logger
    let standing = HolderStanding()
    /// Whose turn it is on the links.
    var priority = StreamPriority.pull

    /// Makes a layer local and does not hold it; `hold` is for layers that are read afterwards.
    func fetch(_ layer: LayerDescriptor, from holders: [PeerID]) async throws {
        try await reporting(layer.id) {
            try await snapshots.pullLayer(
                layer.id, from: sources(of: layer.id, holders), observer: observer(of: layer.id))
        }
    }

    /// What a layer holds, when it is not here.
    func manifest(of layer: LayerDescriptor, from holders: [PeerID]) async throws -> LayerManifest {
        try await reporting(layer.id) {
            try await snapshots.pullManifest(
                of: layer.id, from: sources(of: layer.id, holders), observer: observer(of: layer.id))
        }
    }

    /// Makes a part of a layer local, under the part's own name.
    func pull(_ part: LayerPart, from holders: [PeerID]) async throws {
        try await reporting(part.whole) {
            try await snapshots.pullPart(
                part, from: sources(of: part.whole, holders), observer: observer(of: part.whole))
        }
    }

    private func reporting<T>(_ layer: Digest, _ pull: () async throws -> T) async throws -> T {
        do {
            return try await pull()
        } catch let error as PullFailure {
            try Task.checkCancellation()
            logger.debug("a layer could not be pulled", metadata: ["layer": "\(layer)", "error": "\(error)"])
            throw LayersUnavailable(layer: layer, asked: error.asked)
        }
    }

    private func sources(of layer: Digest, _ holders: [PeerID]) -> [LayerHolder] {
        let known = holders.filter { $0 != dialer.selfID && dialer.isLive($0) }
        // Nodes that are not known to hold it may do so all the same: a question costs one round trip.
        let others = dialer.livePeers.map(\.id).filter { !known.contains($0) }
        return standing.sorted(known).map { holder(of: layer, $0, isKnown: true) }
            + standing.sorted(others).map { holder(of: layer, $0, isKnown: false) }
    }

    private func holder(of layer: Digest, _ peer: PeerID, isKnown: Bool) -> LayerHolder {
        let (dialer, priority) = (dialer, priority)
        return LayerHolder(id: peer.rawValue, isKnown: isKnown) {
            let stream = try await dialer.open(.layer, to: peer, priority: priority)
            do {
                try await stream.send(Peerbuild_Peer_V1_PullRequest.with { $0.digest = Data(layer.bytes) })
            } catch {
                stream.reset()
                throw error
            }
            return stream
        }
    }

    private func observer(of layer: Digest) -> PullObserver {
        let (counters, dialer, logger, standing) = (counters, dialer, logger, standing)
        let (tally, isEarly) = (TransferTally.current, priority == .prefetch)
        var observer = PullObserver()
        observer.received = { peer, content, _ in
            tally?.add(pulled: content, from: PeerID(rawValue: peer))
            counters.add(\.layerBytesPulled, UInt64(content))
            if isEarly { counters.add(\.layerBytesPrefetched, UInt64(content)) }
        }
        observer.deduplicated = { bytes in
            tally?.add(\.deduplicated, bytes)
            counters.add(\.layerBytesDeduplicated, UInt64(bytes))
        }
        observer.resumed = { bytes in
            tally?.add(\.resumed, bytes)
            counters.add(\.layerBytesResumed, UInt64(bytes))
        }
        observer.lied = { peer in
            standing.demote(PeerID(rawValue: peer))
            logger.warning(
                "a node sent wrong bytes for a layer and is asked last from now on",
                metadata: ["layer": "\(layer)", "node": "\(dialer.name(of: PeerID(rawValue: peer)))"])
        }
        observer.failed = { peer, why in
            logger.debug(
                "a node did not give all of a layer",
                metadata: [
                    "layer": "\(layer)", "node": "\(dialer.name(of: PeerID(rawValue: peer)))", "error": "\(why)",
                ])
        }
        return observer
    }

    /// Pulls a blob from any peer that has it; false when none does.
    func fetchBlob(_ blob: Descriptor) async throws -> Bool {
        if blobs.contains(blob.digest) { return true }
        // Those that serve others first may not even have it: they are waited for when all others were asked.
        var turns = dialer.livePeers.map { (peer: $0.id, waits: false) }[...]
        while let (peer, waits) = turns.popFirst() {
            try Task.checkCancellation()
            do {
                try await pull(blob, from: peer, waits: waits)
                return true
            } catch is CancellationError {
                throw CancellationError()
            } catch TransferError.busy {
                turns.append((peer: peer, waits: true))
            } catch {
                continue
            }
        }
        return false
    }

    private func pull(_ blob: Descriptor, from peer: PeerID, waits: Bool) async throws {
        let stream = try await dialer.open(.blob, to: peer)
        let pulled = ByteCount()
        try await withTaskCancellationHandler {
            defer { stream.reset() }
            try await stream.send(Peerbuild_Peer_V1_PullRequest.with { $0.digest = Data(blob.digest.bytes) })
            try await self.blobs.pullBlob(blob.digest, from: stream, waits: waits) { pulled.add($0) }
        } onCancel: {
            stream.reset()
        }
        counters.add(\.layerBytesPulled, UInt64(max(0, pulled.value)))
        TransferTally.current?.add(pulled: pulled.value, from: peer)
    }
}

/// Bytes that arrived, counted by the callbacks of a pull.
private final class ByteCount: Sendable {
    private let count = Mutex<Int64>(0)

    func add(_ bytes: Int64) { count.withLock { $0 += bytes } }
    var value: Int64 { count.withLock { $0 } }
}
