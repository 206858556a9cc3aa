import BuildKitAPI
import BuildKitProtocol
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2
import Logging
import NIOCore
import NIOPosix
import PeerRuntime
import SwiftProtobuf

typealias Control = Moby_Buildkit_V1_Control
typealias Bridge = Moby_Buildkit_V1_Frontend_LLBBridge
typealias PosixClient = GRPCClient<HTTP2ClientTransport.Posix>

/// What a test has of a server: a client on its socket, and its backend.
struct Harness: Sendable {
    let client: PosixClient
    let backend: RecordingBackend
    let server: APIServer
    let directory: String

    var control: Control.Client<HTTP2ClientTransport.Posix> { .init(wrapping: client) }
    var bridge: Bridge.Client<HTTP2ClientTransport.Posix> { .init(wrapping: client) }
    var socket: String { directory + "/api.sock" }

    /// Runs a server on a Unix socket in a directory of its own, and everything down again.
    static func run(
        _ backend: RecordingBackend = RecordingBackend(), _ body: @Sendable (Harness) async throws -> Void
    ) async throws {
        let directory = NSTemporaryDirectory() + "pbapi-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/api.sock"
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let server = try APIServer(
            addresses: [try APIAddress("unix://" + path)], tls: nil, backend: backend, cluster: LoneNode(),
            logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            let transport = try HTTP2ClientTransport.Posix(
                target: .unixDomainSocket(path: path), transportSecurity: .plaintext)
            try await withGRPCClient(transport: transport) { client in
                try await body(Harness(client: client, backend: backend, server: server, directory: directory))
            }
            server.stop(grace: .seconds(2))
            try await group.waitForAll()
        }
    }

    /// Gateway calls name their build in a header.
    static func metadata(_ reference: String) -> Metadata { ["buildkit-controlapi-buildid": .string(reference)] }

    /// Opens a session through which `services` can be called, as `buildctl` does it, while `body` runs.
    func withSession(
        id: String, sharedKey: String = "", methods: [String], services: [any RegistrableRPCService],
        _ body: @Sendable @escaping () async throws -> Void
    ) async throws {
        let path = directory + "/client-\(id).sock"
        let inner = GRPCServer(
            transport: HTTP2ServerTransport.Posix(
                address: .unixDomainSocket(path: path), transportSecurity: .plaintext,
                config: .defaults { $0.rpc.maxRequestPayloadSize = 16 << 20 }),
            services: services)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await inner.serve() }
            _ = try await inner.listeningAddress
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(
                unixDomainSocketPath: path
            ) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
            try await channel.executeThenClose { inbound, outbound in
                try await tunnel(id, sharedKey, methods, inbound: inbound, outbound: outbound, while: body)
            }
            inner.beginGracefulShutdown()
            group.cancelAll()
            try? await group.waitForAll()
        }
    }

    private func tunnel(
        _ id: String, _ sharedKey: String, _ methods: [String], inbound: NIOAsyncChannelInboundStream<ByteBuffer>,
        outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>, while body: @Sendable @escaping () async throws -> Void
    ) async throws {
        typealias Message = Moby_Buildkit_V1_BytesMessage
        var metadata = Metadata()
        metadata.addString(id, forKey: "x-docker-expose-session-uuid")
        metadata.addString(sharedKey, forKey: "x-docker-expose-session-sharedkey")
        for method in methods { metadata.addString(method, forKey: "x-docker-expose-session-grpc-method") }
        try await control.session(
            metadata: metadata,
            requestProducer: { writer in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for try await buffer in inbound {
                            try await writer.write(.with { $0.data = Data(buffer.readableBytesView) })
                        }
                    }
                    group.addTask { try await body() }
                    try await group.next()
                    group.cancelAll()
                }
            },
            onResponse: { response in
                for try await message in response.messages {
                    try await outbound.write(ByteBuffer(bytes: message.data))
                }
            })
    }
}

/// Waits until a condition holds, for at most thirty seconds.
func eventually(_ condition: @Sendable () async -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < deadline {
        if await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}
