internal import BuildSession
internal import GRPCCore
internal import GRPCProtobuf
internal import PeerRuntime
internal import SwiftProtobuf

/// A client's session: what it offers is called through the tunnel that it opened with `Control.Session`.
final class TunneledSession: ClientSession {
    static let diffCopy = "/moby.filesync.v1.FileSync/DiffCopy"
    /// BuildKit's bound for a secret, in bytes.
    static let secretBytesMax = 500 << 10
    /// How long a client may take to answer for credentials; it may ask a helper program or a person.
    static let credentialsPatience = Duration.seconds(60)

    let id: String
    let sharedKey: String

    private let methods: Set<String>
    private let tunnel: SessionTunnel
    let client: GRPCClient<SessionTunnel.Transport>
    private let closed = Promise<Void>()
    /// Work that outlives the call that began it, such as a forwarded agent connection.
    private let background: AsyncStream<@Sendable () async -> Void>
    private let backgroundStart: AsyncStream<@Sendable () async -> Void>.Continuation

    /// A session whose client serves `methods`, each as `/package.Service/Method`.
    init(id: String, sharedKey: String, methods: some Sequence<String>, tunnel: SessionTunnel) {
        self.id = id
        self.sharedKey = sharedKey
        self.methods = Set(methods.map { $0.lowercased() })
        self.tunnel = tunnel
        client = GRPCClient(transport: tunnel.transport)
        (background, backgroundStart) = AsyncStream.makeStream()
    }

    func serves(_ method: String) -> Bool { methods.contains(method.lowercased()) }

    func waitUntilClosed() async { try? await closed.value }

    /// Carries the session until the client ends it; everything under way fails then.
    func run(
        from incoming: RPCAsyncSequence<SessionTunnel.Message, any Error>, to outgoing: RPCWriter<SessionTunnel.Message>
    ) async {
        await withDiscardingTaskGroup { group in
            group.addTask { try? await self.client.runConnections() }
            group.addTask {
                await withDiscardingTaskGroup { works in
                    for await work in self.background { works.addTask { await work() } }
                    works.cancelAll()
                }
            }
            // A client that is gone and one that is done look alike: what still needs it fails by itself.
            try? await tunnel.pump(from: incoming, to: outgoing)
            closed.fulfil(())
            backgroundStart.finish()
            group.cancelAll()
        }
    }

    /// Lets go of a session that was refused before it ran.
    func discard() async {
        closed.fulfil(())
        backgroundStart.finish()
        await tunnel.close()
    }

    /// Starts work that ends with the session at the latest.
    func runInBackground(_ work: @escaping @Sendable () async -> Void) { backgroundStart.yield(work) }

    /// What an error of a call means to a build.
    func meaning(of error: any Error) -> any Error {
        if closed.outcome != nil { return SessionError.ended(id: id) }
        guard let error = error as? RPCError else { return error }
        if error.code == .cancelled, Task.isCancelled { return CancellationError() }
        return SessionError.refused(error.message)
    }

    var callOptions: CallOptions {
        var options = CallOptions.defaults
        // This transport takes the bound of what comes in from the bound of requests.
        options.maxRequestMessageBytes = APIServer.messageBytesMax
        options.maxResponseMessageBytes = APIServer.messageBytesMax
        return options
    }

    /// One call with one request and one answer.
    ///
    /// Throws `RPCError` as the client sent it.
    func call<Request: SwiftProtobuf.Message, Response: SwiftProtobuf.Message>(
        _ method: MethodDescriptor, _ request: Request, metadata: Metadata = [:], timeout: Duration? = nil
    ) async throws -> Response {
        var options = callOptions
        options.timeout = timeout
        return try await client.unary(
            request: ClientRequest(message: request, metadata: metadata), descriptor: method,
            serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Response>(),
            options: options
        ) { try $0.message }
    }

    /// One call with one request and a stream of answers.
    ///
    /// Throws `RPCError` as the client sent it.
    func callStreaming<Request: SwiftProtobuf.Message, Response: SwiftProtobuf.Message>(
        _ method: MethodDescriptor, _ request: Request, metadata: Metadata,
        onAnswer: @escaping @Sendable (Response) async throws -> Void
    ) async throws {
        try await client.serverStreaming(
            request: ClientRequest(message: request, metadata: metadata), descriptor: method,
            serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Response>(),
            options: callOptions
        ) { response in
            for try await message in response.messages { try await onAnswer(message) }
        }
    }
}
