package import BuildKitProtocol
package import GRPCCore
package import GRPCNIOTransportHTTP2
internal import Glibc
internal import NIOCore
internal import NIOPosix

/// A connection to one node (or buildkitd) for the length of one command.
package struct NodeConnection: Sendable {
    package typealias Transport = HTTP2ClientTransport.Posix

    /// BuildKit allows messages of this size in both directions.
    package static let messageBytesMax = 16 * 1_024 * 1_024
    /// Seconds that one address has to accept a connection.
    private static let connectSecondsMax: Int64 = 5

    package let address: NodeAddress
    package let client: GRPCClient<Transport>

    package var control: Moby_Buildkit_V1_Control.Client<Transport> { .init(wrapping: client) }
    package var bridge: Moby_Buildkit_V1_Frontend_LLBBridge.Client<Transport> { .init(wrapping: client) }
    package var cluster: Peerbuild_V1_Cluster.Client<Transport> { .init(wrapping: client) }

    package static var options: CallOptions {
        var options = CallOptions.defaults
        options.maxRequestMessageBytes = messageBytesMax
        options.maxResponseMessageBytes = messageBytesMax
        return options
    }

    /// PEM files for mutual TLS on `tcp://` addresses.
    package struct TLS: Sendable, Hashable {
        package var authority: String?
        package var certificate: String?
        package var key: String?
        /// Name that the certificate must carry; nil means the address's host.
        package var serverName: String?

        package init(
            authority: String? = nil, certificate: String? = nil, key: String? = nil, serverName: String? = nil
        ) {
            self.authority = authority
            self.certificate = certificate
            self.key = key
            self.serverName = serverName
        }
    }

    /// Connects to the first address that accepts, runs `body` and disconnects.
    ///
    /// Throws `UnreachableError` when nobody listens at any of them.
    package static func with<Result: Sendable>(
        anyOf addresses: [NodeAddress], tls: TLS? = nil, _ body: @Sendable (NodeConnection) async throws -> Result
    ) async throws -> Result {
        let address = try await firstListening(addresses)
        return try await withGRPCClient(transport: try transport(to: address, tls: tls)) { client in
            try await body(NodeConnection(address: address, client: client))
        }
    }

    /// The first address that accepts a connection.
    package static func firstListening(_ addresses: [NodeAddress]) async throws -> NodeAddress {
        var failures: [UnreachableError.Failure] = []
        for address in addresses {
            do {
                let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .connectTimeout(.seconds(connectSecondsMax))
                let channel =
                    switch address {
                    case .unix(let path): try await bootstrap.connect(unixDomainSocketPath: path).get()
                    case .tcp(let host, let port): try await bootstrap.connect(host: host, port: port).get()
                    }
                try? await channel.close()
                return address
            } catch {
                failures.append(UnreachableError.Failure(address: address, reason: Self.reason(error)))
            }
        }
        throw UnreachableError(failures: failures)
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode))
        case let error as NIOConnectionError:
            error.connectionErrors.first.map { reason($0.error) } ?? "name not found"
        case ChannelError.connectTimeout: "no answer within \(connectSecondsMax) s"
        default: "\(error)"
        }
    }

    private static func transport(to address: NodeAddress, tls: TLS?) throws -> Transport {
        let config = Transport.Config.defaults { config in
            config.http2.maxFrameSize = 1 << 20
            config.http2.targetWindowSize = 8 << 20
            // One command keeps one connection however long a step is silent.
            config.connection.maxIdleTime = nil
            config.http2.authority = tls?.serverName
        }
        switch address {
        case .unix(let path):
            return try Transport(
                target: .unixDomainSocket(path: path, authority: "localhost"), transportSecurity: .plaintext,
                config: config)
        case .tcp(let host, let port):
            return try Transport(
                target: .dns(host: host, port: port), transportSecurity: security(tls), config: config)
        }
    }

    private static func security(_ tls: TLS?) -> Transport.TransportSecurity {
        guard let tls else { return .plaintext }
        return .tls { config in
            if let authority = tls.authority {
                config.trustRoots = .certificates([.file(path: authority, format: .pem)])
            }
            if let certificate = tls.certificate, let key = tls.key {
                config.certificateChain = [.file(path: certificate, format: .pem)]
                config.privateKey = .file(path: key, format: .pem)
            }
        }
    }
}

/// Nobody listens at any of the addresses.
package struct UnreachableError: Error, Sendable, CustomStringConvertible {
    package struct Failure: Sendable {
        package let address: NodeAddress
        package let reason: String
    }

    package let failures: [Failure]

    package var description: String {
        "no node reachable: " + failures.map { "\($0.address) (\($0.reason))" }.joined(separator: ", ")
            + "; start one with `peerbuild node`, or name another with --addr or PEERBUILD_HOST"
    }
}
