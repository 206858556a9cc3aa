internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import OCI
internal import Solver
internal import SwiftProtobuf

/// Conversions between the cluster's values and their form on the peer link.
///
/// Whatever a peer sent is checked here.
enum PeerMessage {
    /// Layers in one chain; overlayfs takes 500.
    static let layersMax = 512
    static let outputsMax = 256
    /// Nodes that are named as holders of one result; more than a few are never asked.
    static let holdersMax = 1_024

    static func digest(_ bytes: Data) throws(PeerCallError) -> Digest {
        guard let digest = Digest(bytes: bytes) else { throw .malformed("a digest of \(bytes.count) bytes") }
        return digest
    }

    static func layer(_ layer: LayerDescriptor) -> Peerbuild_Peer_V1_Layer {
        .with {
            $0.id = Data(layer.id.bytes)
            $0.bytes = layer.bytes
            if let diffID = layer.diffID { $0.diffID = Data(diffID.bytes) }
            if let blob = layer.blob {
                $0.blob.mediaType = blob.mediaType
                $0.blob.digest = Data(blob.digest.bytes)
                $0.blob.size = blob.size
                $0.blob.annotations = blob.annotations ?? [:]
            }
        }
    }

    static func layer(_ message: Peerbuild_Peer_V1_Layer) throws(PeerCallError) -> LayerDescriptor {
        guard (0...LayerDescriptor.bytesMax).contains(message.bytes) else {
            throw .malformed("a layer of \(message.bytes) bytes; \(LayerDescriptor.bytesMax) is the limit")
        }
        var blob: Descriptor?
        if message.hasBlob {
            guard (0...LayerDescriptor.bytesMax).contains(message.blob.size) else {
                throw .malformed("a blob of \(message.blob.size) bytes; \(LayerDescriptor.bytesMax) is the limit")
            }
            blob = Descriptor(
                mediaType: message.blob.mediaType, digest: try digest(message.blob.digest), size: message.blob.size,
                annotations: message.blob.annotations.isEmpty ? nil : message.blob.annotations)
        }
        return LayerDescriptor(
            id: try digest(message.id), bytes: message.bytes,
            diffID: message.diffID.isEmpty ? nil : try digest(message.diffID), blob: blob)
    }

    static func chain(_ chain: LayerChain?) -> Peerbuild_Peer_V1_Chain {
        .with {
            $0.absent = chain == nil
            $0.layers = chain?.layers.map(layer) ?? []
        }
    }

    static func chain(_ message: Peerbuild_Peer_V1_Chain) throws(PeerCallError) -> LayerChain? {
        guard !message.absent else { return nil }
        guard message.layers.count <= layersMax else { throw .malformed("a chain of \(message.layers.count) layers") }
        var layers: [LayerDescriptor] = []
        for entry in message.layers { layers.append(try layer(entry)) }
        return LayerChain(layers)
    }

    static func record(_ record: FoundRecord) -> Peerbuild_Peer_V1_Record {
        .with {
            $0.canonicalKey = Data(record.canonicalKey.digest.bytes)
            $0.outputs = record.result.outputs.map(chain)
            $0.holders = record.result.holders.map(\.rawValue)
        }
    }

    static func record(_ message: Peerbuild_Peer_V1_Record) throws(PeerCallError) -> FoundRecord {
        guard message.outputs.count <= outputsMax else { throw .malformed("\(message.outputs.count) outputs") }
        var outputs: [LayerChain?] = []
        for output in message.outputs { outputs.append(try chain(output)) }
        return FoundRecord(
            canonicalKey: CacheKey(try digest(message.canonicalKey)),
            result: VertexResult(outputs: outputs, holders: try holders(message.holders)))
    }

    private static func holders(_ ids: [UInt64]) throws(PeerCallError) -> [PeerID] {
        guard ids.count <= holdersMax else { throw .malformed("\(ids.count) holders") }
        return ids.map(PeerID.init(rawValue:))
    }

    static func selection(_ selection: ContentSelection) -> Peerbuild_Peer_V1_Selection {
        .with {
            $0.path = selection.path
            $0.wildcards = selection.allowsWildcards
            $0.followsSymlinks = selection.followsSymlinks
            $0.include = selection.includePatterns
            $0.exclude = selection.excludePatterns
            $0.required = selection.requiredPaths
        }
    }

    static func selection(_ message: Peerbuild_Peer_V1_Selection) -> ContentSelection {
        ContentSelection(
            path: message.path, allowsWildcards: message.wildcards, followsSymlinks: message.followsSymlinks,
            includePatterns: message.include, excludePatterns: message.exclude, requiredPaths: message.required)
    }

    static func prefetch(_ reading: TreeReading) -> Peerbuild_Peer_V1_Prefetch {
        .with {
            $0.input = input(reading.tree)
            $0.selections = (reading.selections ?? []).map(selection)
        }
    }

    static func prefetch(_ message: Peerbuild_Peer_V1_Prefetch) throws(PeerCallError) -> TreeReading {
        TreeReading(
            tree: try input(message.input),
            selections: message.selections.isEmpty ? nil : message.selections.map(selection))
    }

    static func set(_ moved: MovedBytes, in message: inout Peerbuild_Peer_V1_ExecuteEvent.Finished) {
        message.pulledBytes = moved.pulled
        message.deduplicatedBytes = moved.deduplicated
        message.resumedBytes = moved.resumed
        message.leftOutBytes = moved.leftOut
        message.registryBytes = moved.registry
        message.prefetchedBytes = moved.prefetched
        message.servedBytes = served(moved)
    }

    /// What a peer says that it moved: for people only.
    static func moved(_ message: Peerbuild_Peer_V1_ExecuteEvent.Finished) -> MovedBytes {
        var moved = MovedBytes()
        moved.pulled = max(0, message.pulledBytes)
        moved.deduplicated = max(0, message.deduplicatedBytes)
        moved.resumed = max(0, message.resumedBytes)
        moved.leftOut = max(0, message.leftOutBytes)
        moved.registry = max(0, message.registryBytes)
        moved.prefetched = max(0, message.prefetchedBytes)
        moved.served = served(message.servedBytes)
        return moved
    }

    static func set(_ moved: MovedBytes, in message: inout Peerbuild_Peer_V1_ExportEvent.Done) {
        message.pulledBytes = moved.pulled
        message.deduplicatedBytes = moved.deduplicated
        message.resumedBytes = moved.resumed
        message.registryBytes = moved.registry
        message.servedBytes = served(moved)
    }

    static func moved(_ message: Peerbuild_Peer_V1_ExportEvent.Done) -> MovedBytes {
        var moved = MovedBytes()
        moved.pulled = max(0, message.pulledBytes)
        moved.deduplicated = max(0, message.deduplicatedBytes)
        moved.resumed = max(0, message.resumedBytes)
        moved.registry = max(0, message.registryBytes)
        moved.served = served(message.servedBytes)
        return moved
    }

    private static func served(_ moved: MovedBytes) -> [UInt64: Int64] {
        Dictionary(moved.served.map { ($0.rawValue, $1) }) { $0 &+ $1 }
    }

    /// Nothing of a list that is too long: it is for people only, and no reason to fail.
    private static func served(_ bytes: [UInt64: Int64]) -> [PeerID: Int64] {
        guard bytes.count <= holdersMax else { return [:] }
        return Dictionary(bytes.map { (PeerID(rawValue: $0), max(0, $1)) }) { $0 &+ $1 }
    }

    static func failure(_ failure: VertexFailure) -> Peerbuild_Peer_V1_Failure {
        .with {
            $0.message = failure.message
            $0.hasExitCode_p = failure.exitCode != nil
            $0.exitCode = failure.exitCode ?? 0
            $0.cancelled = failure.isCancelled
        }
    }

    static func failure(_ message: Peerbuild_Peer_V1_Failure) -> VertexFailure {
        VertexFailure(
            message.message, exitCode: message.hasExitCode_p ? message.exitCode : nil, isCancelled: message.cancelled)
    }

    static func input(_ input: Assignment.Input) -> Peerbuild_Peer_V1_Input {
        .with {
            $0.chain = chain(input.chain)
            $0.holders = input.holders.map(\.rawValue)
        }
    }

    static func input(_ message: Peerbuild_Peer_V1_Input) throws(PeerCallError) -> Assignment.Input {
        Assignment.Input(
            chain: try chain(message.chain) ?? .scratch, holders: try holders(message.holders))
    }
}

extension PeerStream {
    func send(_ message: some SwiftProtobuf.Message) async throws {
        let bytes: [UInt8] = try message.serializedBytes()
        try await send(bytes)
    }

    /// The next message of that type; throws when the peer ended the stream instead.
    func receive<M: SwiftProtobuf.Message>(_ type: M.Type) async throws -> M {
        guard let bytes = try await receive() else { throw PeerCallError.ended }
        return try M(serializedBytes: bytes)
    }
}

/// Why a call to a peer failed.
enum PeerCallError: Error, CustomStringConvertible {
    case ended
    case malformed(String)
    case unknownPeer(PeerID)
    case timedOut(service: String, PeerID)

    var description: String {
        switch self {
        case .ended: "the peer ended the call without an answer"
        case .malformed(let what): "the peer sent \(what)"
        case .unknownPeer(let peer): "node \(peer) is not in the cluster"
        case .timedOut(let service, let peer): "node \(peer) did not answer \"\(service)\" in time"
        }
    }
}
