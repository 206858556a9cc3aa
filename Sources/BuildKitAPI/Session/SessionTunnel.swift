internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import SwiftProtobuf

/// An HTTP/2 client connection whose bytes travel as the messages of another call.
///
/// The client of `Control.Session` is the HTTP/2 *server* inside. The transport wants a channel of its own, so it gets
/// one end of a socket pair and the messages are pumped into and out of the other; the kernel's buffers are bounded,
/// which carries back pressure through in both directions.
struct SessionTunnel {
    typealias Transport = HTTP2ClientTransport.WrappedChannel
    typealias Message = Moby_Buildkit_V1_BytesMessage

    /// Flow-control window inside the tunnel; Go's side takes 1 MiB too.
    static let windowBytes = 1 << 20

    let transport: Transport
    private let outside: NIOAsyncChannel<ByteBuffer, ByteBuffer>

    /// Makes both ends; `pump` must follow, or nothing moves.
    static func open() async throws -> SessionTunnel {
        var pair: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
            throw RPCError(
                code: .resourceExhausted, message: "no socket pair for a session: \(String(cString: strerror(errno)))")
        }
        let (inner, outer) = (pair[0], pair[1])
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        let outside = try await bootstrap.withConnectedSocket(outer) { channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
        let configuration = Transport.Config.defaults { config in
            config.http2.targetWindowSize = windowBytes
            config.http2.authority = "localhost"
        }
        do {
            let transport = try await Transport.wrapping(config: configuration) { configure in
                try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .withConnectedSocket(inner) { configure($0) }
            }
            return SessionTunnel(transport: transport, outside: outside)
        } catch {
            try? await outside.channel.close()
            throw error
        }
    }

    /// Closes both ends of a tunnel that nothing was pumped through.
    func close() async {
        // The transport owns its end and closes it when it sees the other one gone.
        async let served: Void? = try? await transport.connect()
        try? await outside.executeThenClose { _, _ in }
        _ = await served
    }

    /// Moves bytes until either side ends.
    func pump(
        from incoming: RPCAsyncSequence<Message, any Error>, to outgoing: RPCWriter<Message>
    ) async throws {
        try await outside.executeThenClose { inbound, outbound in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for try await message in incoming {
                        try await outbound.write(ByteBuffer(bytes: message.data))
                    }
                }
                group.addTask {
                    for try await buffer in inbound {
                        try await outgoing.write(.with { $0.data = Data(buffer.readableBytesView) })
                    }
                }
                defer { group.cancelAll() }
                try await group.next()
            }
        }
    }
}
