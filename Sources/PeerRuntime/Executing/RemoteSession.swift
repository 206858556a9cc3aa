internal import BuildSession
internal import ClusterModel
internal import Foundation
internal import Solver
internal import SwiftProtobuf
internal import Synchronization

/// The client's session as seen from an executor: every question goes to the home node, which has the client.
final class RemoteSession: SessionServices {
    /// A client may ask its user for a password.
    private static let answerLimit = Duration.seconds(60)

    private let build: BuildID
    private let home: PeerID
    private let dialer: any PeerDialer

    init(build: BuildID, home: PeerID, dialer: any PeerDialer) {
        self.build = build
        self.home = home
        self.dialer = dialer
    }

    func secret(_ id: String) async throws -> [UInt8]? {
        let reply = try await ask { $0.secret = id }
        return reply.found ? [UInt8](reply.secret) : nil
    }

    func credentials(forHost host: String) async throws -> RegistryCredentials? {
        let reply = try await ask { $0.credentialsHost = host }
        return reply.found ? RegistryCredentials(username: reply.username, secret: reply.password) : nil
    }

    func hasSSHAgent(_ id: String) async throws -> Bool {
        try await ask { $0.hasSshAgent_p = id }.found
    }

    func connectSSHAgent(_ id: String) async throws -> any ByteDuplex {
        let stream = try await dialer.open(.session, to: home)
        try await stream.send(
            Peerbuild_Peer_V1_SessionRequest.with {
                $0.build = build
                $0.sshAgent = id
            })
        return StreamDuplex(stream)
    }

    private func ask(
        _ fill: @escaping @Sendable (inout Peerbuild_Peer_V1_SessionRequest) -> Void
    ) async throws -> Peerbuild_Peer_V1_SessionReply {
        let (dialer, home, build) = (dialer, home, build)
        let reply = try await withDeadline(
            Self.answerLimit, timeout: PeerCallError.timedOut(service: PeerService.session.rawValue, home)
        ) {
            let stream = try await dialer.open(.session, to: home)
            return try await withTaskCancellationHandler {
                defer { stream.reset() }
                var request = Peerbuild_Peer_V1_SessionRequest()
                request.build = build
                fill(&request)
                try await stream.send(request)
                await stream.finish()
                return try await stream.receive(Peerbuild_Peer_V1_SessionReply.self)
            } onCancel: {
                stream.reset()
            }
        }
        guard reply.error.isEmpty else { throw VertexFailure(reply.error) }
        return reply
    }
}

/// A peer stream as a byte stream.
final class StreamDuplex: ByteDuplex {
    private let stream: any PeerStream

    init(_ stream: any PeerStream) { self.stream = stream }

    func read() async throws -> [UInt8]? { try await stream.receive() }

    func write(_ bytes: [UInt8]) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            try await stream.send([UInt8](rest.prefix(PeerStreamLimits.messageBytesMax)))
            rest = rest.dropFirst(PeerStreamLimits.messageBytesMax)
        }
    }

    func finishWriting() async { await stream.finish() }
    func close() { stream.reset() }
}
