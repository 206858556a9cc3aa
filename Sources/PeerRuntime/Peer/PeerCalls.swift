internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import OCI
internal import Solver
internal import SwiftProtobuf

/// Short questions to a peer: one message there, one back.
struct PeerCalls: Sendable {
    /// How long a peer may take to answer a short question before it counts as not answering.
    static let answerLimit = Duration.seconds(5)
    /// Offers are only advice: a slow one is not waited for.
    static let offerLimit = Duration.seconds(1)
    /// A content digest may read a large tree's manifests.
    static let contentLimit = Duration.seconds(120)

    let dialer: any PeerDialer

    /// The peer's records of `keys`, in order; nil where it has none.
    func have(_ keys: [CacheKey], at peer: PeerID) async throws -> [FoundRecord?] {
        let request = Peerbuild_Peer_V1_HaveRequest.with { $0.keys = keys.map { Data($0.digest.bytes) } }
        let answer = try await ask(.have, peer, request, Peerbuild_Peer_V1_HaveResponse.self, Self.answerLimit)
        guard answer.records.count == keys.count else { throw PeerCallError.malformed("an answer of another length") }
        return try answer.records.map { try $0.canonicalKey.isEmpty ? nil : PeerMessage.record($0) }
    }

    /// What it would cost the peer to run on `layers`, of which the first `primary` are the primary input.
    func offer(
        _ layers: [LayerDescriptor], primary: Int, at peer: PeerID
    ) async throws -> Peerbuild_Peer_V1_OfferResponse {
        let request = Peerbuild_Peer_V1_OfferRequest.with {
            $0.layers = layers.map(PeerMessage.layer)
            $0.primary = UInt32(primary)
        }
        return try await ask(.offer, peer, request, Peerbuild_Peer_V1_OfferResponse.self, Self.offerLimit)
    }

    /// The digest of what `selections` read of a tree that the peer holds.
    func content(_ chain: LayerChain, _ selections: [ContentSelection], at peer: PeerID) async throws -> Digest {
        let request = Peerbuild_Peer_V1_ContentRequest.with {
            $0.chain = PeerMessage.chain(chain)
            $0.selections = selections.map(PeerMessage.selection)
        }
        let answer = try await ask(.content, peer, request, Peerbuild_Peer_V1_ContentResponse.self, Self.contentLimit)
        guard answer.error.isEmpty else { throw VertexFailure(answer.error) }
        return try PeerMessage.digest(answer.digest)
    }

    /// Keeps layers at the peer from being collected for a while; returns how many of them it has.
    func lease(_ layers: [Digest], at peer: PeerID) async throws -> Int {
        let request = Peerbuild_Peer_V1_LeaseRequest.with { $0.layers = layers.map { Data($0.bytes) } }
        let answer = try await ask(.lease, peer, request, Peerbuild_Peer_V1_LeaseResponse.self, Self.answerLimit)
        return Int(answer.leased)
    }

    private func ask<Answer: SwiftProtobuf.Message>(
        _ service: PeerService, _ peer: PeerID, _ request: some SwiftProtobuf.Message, _ type: Answer.Type,
        _ limit: Duration
    ) async throws -> Answer {
        let dialer = dialer
        return try await withDeadline(limit, timeout: PeerCallError.timedOut(service: service.rawValue, peer)) {
            let stream = try await dialer.open(service, to: peer)
            return try await withTaskCancellationHandler {
                defer { stream.reset() }
                try await stream.send(request)
                await stream.finish()
                return try await stream.receive(type)
            } onCancel: {
                stream.reset()
            }
        }
    }
}
