internal import BuildSession
internal import ClusterModel
internal import Foundation
internal import Solver
internal import SwiftProtobuf

/// Answers what steps on other nodes ask of the clients of this node's builds.
struct SessionService: Sendable {
    /// The session of a build that runs at this home node; nil when there is no such build or session.
    let session: @Sendable (BuildID) async -> (any SessionServices)?

    func serve(_ stream: any PeerStream) async throws {
        let request = try await stream.receive(Peerbuild_Peer_V1_SessionRequest.self)
        guard let session = await session(request.build) else {
            try await stream.send(
                Peerbuild_Peer_V1_SessionReply.with { $0.error = "the client of build \(request.build) has gone" })
            await stream.finish()
            return
        }
        if case .sshAgent(let id) = request.ask {
            try await forward(try await session.connectSSHAgent(id), stream)
            return
        }
        var reply = Peerbuild_Peer_V1_SessionReply()
        do {
            reply = try await answer(request, session)
        } catch {
            reply.error = "\(error)"
        }
        try await stream.send(reply)
        await stream.finish()
    }

    private func answer(
        _ request: Peerbuild_Peer_V1_SessionRequest, _ session: any SessionServices
    ) async throws -> Peerbuild_Peer_V1_SessionReply {
        var reply = Peerbuild_Peer_V1_SessionReply()
        switch request.ask {
        case .secret(let id):
            guard let secret = try await session.secret(id) else { break }
            reply.found = true
            reply.secret = Data(secret)
        case .credentialsHost(let host):
            guard let credentials = try await session.credentials(forHost: host) else { break }
            reply.found = true
            reply.username = credentials.username
            reply.password = credentials.secret
        case .hasSshAgent_p(let id): reply.found = try await session.hasSSHAgent(id)
        case .sshAgent, nil: throw PeerCallError.malformed("an empty question")
        }
        return reply
    }

    private func forward(_ agent: any ByteDuplex, _ stream: any PeerStream) async throws {
        defer {
            agent.close()
            stream.reset()
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                while let bytes = try await stream.receive() { try await agent.write(bytes) }
                await agent.finishWriting()
            }
            group.addTask {
                while let bytes = try await agent.read() { try await stream.send(bytes) }
                await stream.finish()
            }
            try await group.waitForAll()
        }
    }
}
