internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import Gossip
internal import Logging
internal import OCI
internal import Solver
internal import SwiftProtobuf

/// A granted right to execute a key.
///
/// Exactly one of its two ends must be called.
struct Claim: Sendable {
    /// Tells the arbiter, and through it everybody who waits, how it ended.
    var finish: @Sendable (ClaimOutcome) async -> Void
    /// Gives the right back: the next in line gets it.
    var release: @Sendable () async -> Void
}

/// What the arbiter answered.
enum ClaimAnswer: Sendable {
    case granted(Claim)
    /// Somebody else has run it.
    case outcome(ClaimOutcome)
}

/// The claimant's side: finds the arbiter of a key by rendezvous hashing over the live members and asks it.
struct Claims: Sendable {
    /// Arbiters that may fail in a row before the step runs without a claim: running twice beats not running.
    static let attemptsMax = 3
    /// How long a finished step waits for the arbiter to take its outcome; a hung arbiter must not hold up the build.
    static let farewellLimit = Duration.seconds(2)

    let board: ClaimBoard
    let dialer: any PeerDialer
    let logger: Logger

    func acquire(_ key: CacheKey, rejecting: PeerID? = nil) async throws -> ClaimAnswer {
        // An arbiter that does not answer is as good as gone, before the cluster has said so: everybody who asks goes
        // on to the same next one.
        var silent: Set<PeerID> = []
        for _ in 0..<Self.attemptsMax {
            try Task.checkCancellation()
            let members = dialer.livePeers.map(\.id).filter { !silent.contains($0) } + [dialer.selfID]
            guard let arbiter = RendezvousHash.owner(of: key.digest, among: members), arbiter != dialer.selfID else {
                if let answer = try await acquireHere(key, rejecting) { return answer }
                continue
            }
            do {
                return try await acquire(key, rejecting, from: arbiter)
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                try Task.checkCancellation()
                logger.debug(
                    "the arbiter of a key did not answer",
                    metadata: ["node": "\(dialer.name(of: arbiter))", "error": "\(error)"])
                silent.insert(arbiter)
            }
        }
        logger.warning("no arbiter answers; a step runs without a claim and may run elsewhere too")
        return .granted(Claim(finish: { _ in }, release: {}))
    }

    private func acquireHere(_ key: CacheKey, _ rejecting: PeerID?) async throws -> ClaimAnswer? {
        let (id, replies) = await board.open(key, rejecting: rejecting)
        for await reply in replies {
            switch reply {
            case .granted:
                return .granted(
                    Claim(
                        finish: { [board] in await board.finish(id, with: $0) },
                        release: { [board] in await board.release(id) })
                )
            case .outcome(let outcome): return .outcome(outcome)
            }
        }
        await board.release(id)
        try Task.checkCancellation()
        return nil
    }

    private func acquire(_ key: CacheKey, _ rejecting: PeerID?, from arbiter: PeerID) async throws -> ClaimAnswer {
        let stream = try await dialer.open(.claim, to: arbiter)
        return try await withTaskCancellationHandler {
            do {
                try await stream.send(
                    Peerbuild_Peer_V1_ClaimRequest.with {
                        $0.key = Data(key.digest.bytes)
                        $0.rejectedHolder = rejecting?.rawValue ?? 0
                    })
                let reply = try await stream.receive(Peerbuild_Peer_V1_ClaimReply.self)
                switch reply.reply {
                case .granted: return .granted(Self.claim(on: stream))
                case .record(let record):
                    stream.reset()
                    return .outcome(.record(try PeerMessage.record(record)))
                case .failure(let failure):
                    stream.reset()
                    return .outcome(.failed(PeerMessage.failure(failure)))
                case nil: throw PeerCallError.malformed("an empty answer to a claim")
                }
            } catch {
                stream.reset()
                throw Task.isCancelled ? CancellationError() : error
            }
        } onCancel: {
            stream.reset()
        }
    }

    private static func claim(on stream: any PeerStream) -> Claim {
        Claim(
            finish: { outcome in
                let message = Peerbuild_Peer_V1_ClaimFinish.with {
                    switch outcome {
                    case .record(let record): $0.record = PeerMessage.record(record)
                    case .failed(let failure): $0.failure = PeerMessage.failure(failure)
                    }
                }
                // If the arbiter is gone, nobody waits there.
                try? await stream.send(message)
                await stream.finish()
                try? await withDeadline(farewellLimit, timeout: PeerCallError.ended) {
                    try await withTaskCancellationHandler {
                        // The arbiter ends its side when it has the outcome; a reset before that could lose it.
                        while try await stream.receive() != nil {}
                    } onCancel: {
                        stream.reset()
                    }
                }
                stream.reset()
            },
            release: { stream.reset() })
    }
}
