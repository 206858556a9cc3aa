internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import OCI
internal import Solver
internal import SwiftProtobuf

/// The claims that this node arbitrates: the shell of `ClaimArbiter`, for local claims and those of peers.
actor ClaimBoard {
    enum Reply: Sendable {
        case granted
        case outcome(ClaimOutcome)
    }

    private var arbiter = ClaimArbiter()
    private var waiting: [ClaimID: AsyncStream<Reply>.Continuation] = [:]
    private var count: UInt64 = 0

    /// Claims a key.
    ///
    /// The stream gives the grant, or the outcome of whoever had it; it ends without either when the claim is
    /// refused or released.
    func open(_ key: CacheKey, rejecting: PeerID?) -> (ClaimID, AsyncStream<Reply>) {
        count += 1
        let id = ClaimID(number: count)
        let (replies, continuation) = AsyncStream.makeStream(of: Reply.self)
        waiting[id] = continuation
        apply(arbiter.claim(key, by: id, rejecting: rejecting))
        return (id, replies)
    }

    func finish(_ id: ClaimID, with outcome: ClaimOutcome) {
        waiting.removeValue(forKey: id)?.finish()
        apply(arbiter.finish(id, with: outcome))
        // An outcome from somebody who was never granted the key must not leave a claim in line that nobody serves.
        apply(arbiter.release(id))
    }

    func release(_ id: ClaimID) {
        waiting.removeValue(forKey: id)?.finish()
        apply(arbiter.release(id))
    }

    func nodeLost(_ peer: PeerID) { arbiter.nodeLost(peer) }

    private func apply(_ effects: [ClaimArbiter.Effect]) {
        for effect in effects {
            switch effect {
            case .grant(let id): waiting[id]?.yield(.granted)
            case .answer(let id, let outcome):
                waiting[id]?.yield(.outcome(outcome))
                waiting.removeValue(forKey: id)?.finish()
            case .refuse(let id): waiting.removeValue(forKey: id)?.finish()
            }
        }
    }

    /// Serves a peer's claim for as long as its stream lives.
    nonisolated func serve(_ stream: any PeerStream) async throws {
        let request = try await stream.receive(Peerbuild_Peer_V1_ClaimRequest.self)
        let key = CacheKey(try PeerMessage.digest(request.key))
        let rejected = request.rejectedHolder == 0 ? nil : PeerID(rawValue: request.rejectedHolder)
        let (id, replies) = await open(key, rejecting: rejected)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                // Nothing comes from the claimant but its outcome, or the end of its stream.
                if let message = try? await stream.receive(Peerbuild_Peer_V1_ClaimFinish.self),
                    let outcome = try? Self.outcome(message)
                {
                    await self.finish(id, with: outcome)
                } else {
                    await self.release(id)
                }
            }
            for await reply in replies {
                do {
                    try await stream.send(Self.message(reply))
                } catch {
                    break
                }
            }
            // An answered claim is over; a granted one ends by the task above, which the end of the replies follows.
            await stream.finish()
            await group.waitForAll()
        }
    }

    private static func outcome(_ message: Peerbuild_Peer_V1_ClaimFinish) throws -> ClaimOutcome {
        switch message.outcome {
        case .record(let record): .record(try PeerMessage.record(record))
        case .failure(let failure): .failed(PeerMessage.failure(failure))
        case nil: throw PeerCallError.malformed("a claim's end without an outcome")
        }
    }

    private static func message(_ reply: Reply) -> Peerbuild_Peer_V1_ClaimReply {
        switch reply {
        case .granted: .with { $0.granted = true }
        case .outcome(.record(let record)): .with { $0.record = PeerMessage.record(record) }
        case .outcome(.failed(let failure)): .with { $0.failure = PeerMessage.failure(failure) }
        }
    }
}
