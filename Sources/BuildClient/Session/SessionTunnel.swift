internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
internal import NIOCore
internal import NIOPosix

/// The session of a build: gRPC services of ours that the node calls through `Control.Session`.
///
/// The node is the HTTP/2 client inside the tunnel. A gRPC server of this process accepts exactly one connection, on a
/// socket whose name is gone before the first byte flows, and its bytes are carried in both directions.
struct SessionTunnel: Sendable {
    /// What a session call is announced with.
    private enum Header {
        static let id = "x-docker-expose-session-uuid"
        static let sharedKey = "x-docker-expose-session-sharedkey"
        static let method = "x-docker-expose-session-grpc-method"
    }

    /// Bytes of one message of the tunnel.
    private static let pieceBytesMax = 1 << 20

    let id: String
    let sharedKey: String
    /// `/package.Service/Method` of all that the node may call.
    let methods: [String]
    let services: [any RegistrableRPCService]

    /// Serves the node until `end` finishes or the node closes the session.
    func run(over connection: NodeConnection, until end: AsyncStream<Never>) async throws {
        let (listener, connected) = try LocalSocketPair.make()
        var config = HTTP2ServerTransport.Posix.Config.defaults
        config.http2.maxFrameSize = 1 << 20
        config.http2.targetWindowSize = 1 << 20
        config.http2.maxConcurrentStreams = 250
        config.rpc.maxRequestPayloadSize = NodeConnection.messageBytesMax
        let transport = HTTP2ServerTransport.Posix(
            listeningSocketDescriptor: Int(listener), transportSecurity: .plaintext, config: config)
        let server = GRPCServer(transport: transport, services: services)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .withConnectedSocket(connected) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.serve() }
            group.addTask {
                for await _ in end {}
                try? await channel.channel.close()
            }
            do {
                try await carry(channel, over: connection)
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
        }
    }

    private func carry(_ channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>, over connection: NodeConnection) async throws
    {
        var metadata: Metadata = [Header.id: .string(id), Header.sharedKey: .string(sharedKey)]
        for method in methods { metadata.addString(method, forKey: Header.method) }
        try await channel.executeThenClose { inbound, outbound in
            try await connection.control.session(metadata: metadata, options: NodeConnection.options) { writer in
                for try await buffer in inbound {
                    var rest = buffer
                    while let piece = rest.readSlice(length: min(rest.readableBytes, Self.pieceBytesMax)),
                        piece.readableBytes > 0
                    {
                        var message = Moby_Buildkit_V1_BytesMessage()
                        message.data = Data(piece.readableBytesView)
                        try await writer.write(message)
                    }
                }
            } onResponse: { response in
                for try await message in response.messages {
                    try await outbound.write(ByteBuffer(bytes: message.data))
                }
                outbound.finish()
                try? await channel.channel.close()
            }
        }
    }
}
