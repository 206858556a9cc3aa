internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// A small HTTP/1.1 server on loopback whose answers a closure makes; it remembers what it was asked.
package final class LoopbackHTTPServer: Sendable {
    package struct Request: Sendable {
        package var method: String
        /// Path with query.
        package var target: String
        package var headers: [(String, String)]
        package var body: [UInt8]

        package func header(_ name: String) -> String? {
            headers.first { $0.0.lowercased() == name.lowercased() }?.1
        }
    }

    package struct Response: Sendable {
        package var status: Int
        package var headers: [(String, String)]
        package var body: [UInt8]
        /// Bytes of the body after which the connection is cut; nil sends all.
        package var cutAfter: Int?

        package init(_ status: Int, headers: [(String, String)] = [], body: [UInt8] = [], cutAfter: Int? = nil) {
            self.status = status
            self.headers = headers
            self.body = body
            self.cutAfter = cutAfter
        }
    }

    /// `127.0.0.1:PORT`.
    package let host: String
    private let channel: any Channel
    private let seen: Record

    /// Everything asked so far, in order.
    package var requests: [Request] { seen.all }

    private init(host: String, channel: any Channel, seen: Record) {
        self.host = host
        self.channel = channel
        self.seen = seen
    }

    package static func start(_ answer: @escaping @Sendable (Request) -> Response) async throws -> LoopbackHTTPServer {
        let seen = Record()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(
                        Exchange { request in
                            seen.add(request)
                            return answer(request)
                        })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return LoopbackHTTPServer(host: "127.0.0.1:\(channel.localAddress?.port ?? 0)", channel: channel, seen: seen)
    }

    package func stop() async throws { try await channel.close().get() }

    private final class Record: Sendable {
        private let requests = Mutex<[Request]>([])
        var all: [Request] { requests.withLock { $0 } }
        func add(_ request: Request) { requests.withLock { $0.append(request) } }
    }

    /// One connection: collects a request, then writes its answer.
    private final class Exchange: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let answer: @Sendable (Request) -> Response
        private var request: Request?

        init(_ answer: @escaping @Sendable (Request) -> Response) { self.answer = answer }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                request = Request(
                    method: head.method.rawValue, target: head.uri, headers: head.headers.map { ($0.name, $0.value) },
                    body: [])
            case .body(let buffer): request?.body += Array(buffer.readableBytesView)
            case .end:
                guard let request else { return }
                self.request = nil
                write(answer(request), isHead: request.method == "HEAD", context: context)
            }
        }

        private func write(_ response: Response, isHead: Bool, context: ChannelHandlerContext) {
            var headers = HTTPHeaders(response.headers)
            if !headers.contains(name: "Content-Length") {
                headers.add(name: "Content-Length", value: String(response.body.count))
            }
            let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: response.status), headers: headers)
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            if !isHead {
                let bytes = response.body.prefix(response.cutAfter ?? response.body.count)
                context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: bytes)))), promise: nil)
            }
            guard response.cutAfter == nil else {
                context.flush()
                context.close(promise: nil)
                return
            }
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }
}
