import ClusterModel
import Foundation
import OCI
import Snapshots
import SwiftProtobuf
import Testing

@testable import PeerRuntime

/// What a node that serves as many pulls as it may does for those that come then.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct ServingLimitTests {
    @Test func `a pull beyond the cap hears that it waits, and gets its layer when its turn comes`() async throws {
        try await TestCluster.with(2, change: { $0.servedTransfersMax = 1 }) { cluster in
            let (puller, holder) = (cluster.nodes[0], cluster.nodes[1])
            let work = try holder.parts.snapshots.prepare(over: .scratch)
            try Data(repeating: 7, count: 300_000).write(to: URL(fileURLWithPath: work.path + "/file"))
            let layer = try #require(try holder.parts.snapshots.commit(work))
            func open() async throws -> any PeerStream {
                let stream = try await puller.cluster.open(.layer, to: holder.selfID)
                try await stream.send(Peerbuild_Peer_V1_PullRequest.with { $0.digest = Data(layer.id.bytes) })
                return stream
            }
            // It asks for nothing, and has the slot.
            let first = try await open()
            let second = try await open()
            let word = try #require(PeerService.layer.waitingMessage)
            for _ in 0..<2 { #expect(try await second.receive() == word) }
            second.reset()
            async let pulled: Void = puller.parts.fetcher.fetch(layer, from: [holder.selfID])
            try await TestCluster.wait("the pull waits") {
                await holder.links().counters["servesDelayed"] ?? 0 >= 2
            }
            #expect(!puller.parts.snapshots.contains(layer.id))
            first.reset()
            try await pulled
            #expect(puller.parts.snapshots.contains(layer.id))
        }
    }
}
