internal import GRPCCore
internal import GRPCNIOTransportHTTP2
package import Logging
package import PeerRuntime

/// Serves a node's clients: BuildKit's Control, LLBBridge and session tunnel, gRPC health and `peerbuild.v1.Cluster`.
package final class APIServer: Sendable {
    /// Largest message in either direction, as BuildKit has it.
    package static let messageBytesMax = 16 << 20
    /// Flow-control window of a connection and of each stream; at 64 KiB a context upload waits for round trips.
    static let windowBytes = 4 << 20

    /// The addresses served, with their real ports.
    package let addresses: [APIAddress]

    private let sockets: [ListeningSocket]
    private let servers: [GRPCServer<HTTP2ServerTransport.Posix>]
    private let shutdown: ServerShutdown
    private let builds: BuildRegistry

    /// Binds and listens on every address; clients may connect from now on and are answered once `run` is called.
    ///
    /// TLS is for TCP only: who may connect to a Unix socket is said by its file mode.
    package init(
        addresses: [APIAddress], tls: APITLS?, backend: any BuildBackend, cluster: any ClusterView, logger: Logger
    ) throws(APIServerError) {
        let secured = try tls.map { tls throws(APIServerError) in try tls.transportSecurity() }
        var sockets: [ListeningSocket] = []
        do throws(APIServerError) {
            for address in addresses { sockets.append(try ListeningSocket.open(address)) }
        } catch {
            for socket in sockets {
                socket.close()
                socket.removeName()
            }
            throw error
        }
        let builds = BuildRegistry()
        let sessions = SessionRegistry()
        let shutdown = ServerShutdown()
        let services: [any RegistrableRPCService] = [
            ControlService(
                backend: backend, builds: builds, sessions: sessions, shutdown: shutdown, logger: logger),
            GatewayService(backend: backend, builds: builds, shutdown: shutdown),
            HealthService(),
            ClusterService(cluster: cluster),
        ]
        self.builds = builds
        self.shutdown = shutdown
        self.servers = sockets.map { socket in
            let security: HTTP2ServerTransport.Posix.TransportSecurity
            if case .tcp = socket.address { security = secured ?? .plaintext } else { security = .plaintext }
            return GRPCServer(
                transport: .init(
                    listeningSocketDescriptor: Int(socket.descriptor), transportSecurity: security,
                    config: Self.configuration),
                services: services)
        }
        self.sockets = sockets
        self.addresses = sockets.map(\.address)
    }

    /// Serves until `stop` was called and its time is over, or the task is cancelled.
    package func run() async throws {
        defer { for socket in sockets { socket.removeName() } }
        try await withThrowingTaskGroup(of: Finished.self) { group in
            for (server, address) in zip(servers, addresses) {
                group.addTask {
                    do { try await server.serve() } catch {
                        if !Task.isCancelled { throw APIServerError.stopped(address, reason: "\(error)") }
                    }
                    return .server
                }
            }
            group.addTask {
                await self.builds.run()
                return .registry
            }
            group.addTask {
                guard let grace = try? await self.shutdown.grace else { return .grace }
                for server in self.servers { server.beginGracefulShutdown() }
                try? await Task.sleep(for: grace)
                return .grace
            }
            // A server ends by itself when it was stopped and its last call is done; the grace ends the rest.
            var serving = servers.count
            while serving > 0, let finished = try await group.next() {
                switch finished {
                case .server: serving -= 1
                case .grace: serving = 0
                case .registry: break
                }
            }
            group.cancelAll()
        }
    }

    /// Which child of `run` ended.
    private enum Finished {
        case server
        case grace
        case registry
    }

    /// Takes no new connections and ends `run` when the calls under way are done, after `grace` at the latest.
    package func stop(grace: Duration) { shutdown.begin(grace: grace) }

    private static var configuration: HTTP2ServerTransport.Posix.Config {
        .defaults { config in
            config.rpc.maxRequestPayloadSize = messageBytesMax
            config.http2.targetWindowSize = windowBytes
            config.connection.keepalive.clientBehavior = .init(
                minPingIntervalWithoutCalls: .zero, allowWithoutCalls: true)
        }
    }
}
