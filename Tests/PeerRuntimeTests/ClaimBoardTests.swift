import CacheMap
import ClusterModel
import Foundation
import OCI
import Solver
import SwiftProtobuf
import Testing

@testable import PeerRuntime

@Suite(.timeLimit(.minutes(1)))
struct ClaimBoardTests {
    private let key = CacheKey(Digest.of(Array("a step".utf8)))

    private var request: Peerbuild_Peer_V1_ClaimRequest { .with { $0.key = Data(key.digest.bytes) } }

    private func record(on holder: UInt64) -> FoundRecord {
        let layer = LayerDescriptor(id: Digest.of([1]), bytes: 1)
        return FoundRecord(
            canonicalKey: key,
            result: VertexResult(outputs: [LayerChain([layer])], holders: [PeerID(rawValue: holder)]))
    }

    /// A claimant's end of a stream that `board` serves in `group`.
    private func claim(_ board: ClaimBoard, _ group: inout TaskGroup<Void>) async throws -> MemoryStream {
        let (mine, theirs) = MemoryStream.pair()
        group.addTask { try? await board.serve(theirs) }
        try await mine.send(request)
        return mine
    }

    @Test func `the second claimant is answered with the first one's record`() async {
        let board = ClaimBoard()
        await withTaskGroup(of: Void.self) { group in
            do {
                let first = try await claim(board, &group)
                #expect(try await first.receive(Peerbuild_Peer_V1_ClaimReply.self).granted)
                let second = try await claim(board, &group)
                try await first.send(
                    Peerbuild_Peer_V1_ClaimFinish.with { $0.record = PeerMessage.record(record(on: 7)) })
                await first.finish()
                let answer = try await second.receive(Peerbuild_Peer_V1_ClaimReply.self)
                #expect(try PeerMessage.record(answer.record) == record(on: 7))
                second.reset()
                // The arbiter ends its side when it has the outcome.
                #expect(try await first.receive() == nil)
            } catch {
                Issue.record(error)
            }
        }
    }

    @Test func `a claimant whose stream breaks makes way for the next`() async {
        let board = ClaimBoard()
        await withTaskGroup(of: Void.self) { group in
            do {
                let first = try await claim(board, &group)
                #expect(try await first.receive(Peerbuild_Peer_V1_ClaimReply.self).granted)
                let second = try await claim(board, &group)
                first.reset()
                #expect(try await second.receive(Peerbuild_Peer_V1_ClaimReply.self).granted)
                second.reset()
            } catch {
                Issue.record(error)
            }
        }
    }

    @Test func `an outcome from one who was not granted the key locks nobody out`() async {
        let board = ClaimBoard()
        await withTaskGroup(of: Void.self) { group in
            do {
                let first = try await claim(board, &group)
                #expect(try await first.receive(Peerbuild_Peer_V1_ClaimReply.self).granted)
                let liar = try await claim(board, &group)
                try await liar.send(
                    Peerbuild_Peer_V1_ClaimFinish.with { $0.record = PeerMessage.record(record(on: 6)) })
                // Its side ends without an answer.
                #expect(try await liar.receive() == nil)
                first.reset()
                let third = try await claim(board, &group)
                #expect(try await third.receive(Peerbuild_Peer_V1_ClaimReply.self).granted)
                third.reset()
            } catch {
                Issue.record(error)
            }
        }
    }
}
