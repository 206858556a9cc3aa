import ClusterModel
import Logging
import OCI
import SwiftProtobuf
import Testing

@testable import PeerRuntime

/// What peers ask for that no working peer asks for.
@Suite(.serialized, .timeLimit(.minutes(1)))
struct PeerServicesTests {
    private static let peer = PeerID(rawValue: 7)

    private static func offer(
        _ request: Peerbuild_Peer_V1_OfferRequest, at node: Node
    ) async throws -> Peerbuild_Peer_V1_OfferResponse {
        let (near, far) = MemoryStream.pair()
        try await near.send(request)
        await node.services.serve("offer", from: peer, far)
        return try await near.receive(Peerbuild_Peer_V1_OfferResponse.self)
    }

    @Test func `the bytes of offered layers are bounded, one by one and together`() async throws {
        try await TestCluster.with(1) { cluster in
            let layer = LayerDescriptor(id: Digest.of([1]), bytes: LayerDescriptor.bytesMax)
            let overflowing = Int(Int64.max / LayerDescriptor.bytesMax) + 1
            let many = Peerbuild_Peer_V1_OfferRequest.with {
                $0.layers = Array(repeating: PeerMessage.layer(layer), count: overflowing)
            }
            let answer = try await Self.offer(many, at: cluster.nodes[0])
            #expect(answer.missingBytes == .max)
            var large = PeerMessage.layer(layer)
            large.bytes = .max
            let two = Peerbuild_Peer_V1_OfferRequest.with { $0.layers = [large, large] }
            await #expect(throws: (any Error).self) { _ = try await Self.offer(two, at: cluster.nodes[0]) }
        }
    }

    @Test func `unknown services are logged once a minute for a peer, whatever they are called`() async throws {
        try await TestCluster.with(1) { cluster in
            for number in 0..<20 {
                let (_, far) = MemoryStream.pair()
                await cluster.nodes[0].services.serve("service-\(number)", from: Self.peer, far)
            }
            #expect(cluster.logs[0].lines(with: "unknown service").count == 1)
        }
    }

    @Test func `failures have a line per service, peer and minute, which says how many had none`() {
        let (lines, log) = (LogLines(), PeerCallLog())
        let logger = Logger(label: "test") { _ in lines }
        let start = ContinuousClock.now
        func fail(_ service: PeerService, _ peer: PeerID, after seconds: Int) {
            log.note(.failure(service, peer), logger, .info, "failed", [:], at: start + .seconds(seconds))
        }
        for _ in 0..<3 { fail(.have, Self.peer, after: 0) }
        #expect(lines.lines(with: "failed") == ["failed"])
        fail(.have, PeerID(rawValue: 8), after: 1)
        fail(.offer, Self.peer, after: 1)
        #expect(lines.lines(with: "failed").count == 3)
        fail(.have, Self.peer, after: 61)
        #expect(lines.lines(with: "failed").last == "failed; 2 more since the last such line")
    }
}
