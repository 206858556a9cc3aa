internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL

/// Sends requests to registries and turns what breaks on the way into `RegistryError`.
///
/// HTTP/1.1 only: large blobs over one HTTP/2 connection share its 64 KiB window, while parallel blobs over HTTP/1.1
/// each have their own connection.
final class HTTPTransport: Sendable {
    private static let redirectsMax = 5
    /// Connections a host; bounds what one pull opens.
    private static let connectionsPerHostMax = 16

    private let client: HTTPClient

    init(configuration: RegistryConfiguration) {
        var settings = HTTPClient.Configuration()
        settings.httpVersion = .http1Only
        settings.redirectConfiguration = .follow(max: Self.redirectsMax, allowCycles: false)
        settings.timeout = HTTPClient.Configuration.Timeout(
            connect: .nanoseconds(configuration.connectTimeout.nanoseconds),
            read: .nanoseconds(configuration.readTimeout.nanoseconds))
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = Self.connectionsPerHostMax
        // The callers retry, with a bound of their own and a message at the end.
        settings.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
    }

    func shutdown() async throws { try await client.shutdown() }

    /// Sends one request, with the endpoint's TLS settings; `host` is for messages.
    func exchange(
        _ request: HTTPClientRequest, endpoint: RegistryEndpoint, host: String, subject: String
    ) async throws -> HTTPAnswer {
        var request = request
        request.headers.replaceOrAdd(name: "User-Agent", value: "peerbuild")
        request.tlsConfiguration = try Self.tls(for: endpoint, subject: subject)
        do {
            return HTTPAnswer(try await client.execute(request, timeout: .hours(24)))
        } catch {
            throw Self.mapped(error, subject: subject, host: host)
        }
    }

    /// `error` as an error of a registry; cancellation stays what it is.
    static func mapped(_ error: any Error, subject: String, host: String) -> any Error {
        switch error {
        case is CancellationError: return error
        case let error as HTTPClientError where error == .cancelled: return CancellationError()
        case let error as RegistryError: return error
        case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
            return RegistryError(.tls, subject: subject, host: host, detail: "\(error)")
        case let error as IOError where error.errnoCode == connectionRefused:
            return RegistryError(.unreachable, subject: subject, host: host, detail: "connection refused")
        case let error as NIOConnectionError:
            return RegistryError(.unreachable, subject: subject, host: host, detail: Self.reason(of: error))
        case let error as HTTPClientError where error == .tlsHandshakeTimeout:
            return RegistryError(.tls, subject: subject, host: host, detail: "the handshake timed out")
        case let error as HTTPClientError:
            return RegistryError(.unreachable, subject: subject, host: host, detail: error.shortDescription)
        default: return RegistryError(.unreachable, subject: subject, host: host, detail: "\(error)")
        }
    }

    private static func reason(of error: NIOConnectionError) -> String {
        if let failure = error.connectionErrors.first {
            if let system = failure.error as? IOError, system.errnoCode == connectionRefused {
                return "connection refused"
            }
            return "\(failure.error)"
        }
        return "no address found for this name"
    }

    /// ECONNREFUSED on Linux.
    private static let connectionRefused: CInt = 111

    private static func tls(for endpoint: RegistryEndpoint, subject: String) throws -> TLSConfiguration? {
        let settings = endpoint.settings
        guard !endpoint.isPlainHTTP, settings.insecure || !settings.ca.isEmpty || !settings.keyPairs.isEmpty else {
            return nil
        }
        var tls = TLSConfiguration.makeClientConfiguration()
        if settings.insecure { tls.certificateVerification = .none }
        do {
            if !settings.ca.isEmpty {
                tls.additionalTrustRoots = try settings.ca.map { .certificates(try NIOSSLCertificate.fromPEMFile($0)) }
            }
            if let pair = settings.keyPairs.first {
                tls.certificateChain = try NIOSSLCertificate.fromPEMFile(pair.certificate).map { .certificate($0) }
                tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: pair.key, format: .pem))
            }
        } catch {
            throw RegistryError(
                .tls, subject: subject, host: endpoint.host, detail: "cannot read its ca, cert or key file: \(error)")
        }
        return tls
    }
}

extension Duration {
    fileprivate var nanoseconds: Int64 {
        components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
    }
}
