internal import AsyncHTTPClient
internal import Logging
internal import NIOCore
internal import NIOHTTP1
package import OCI

/// One repository of a registry, as one user may use it.
package final class Repository: Sendable {
    /// Largest manifest that is read; what registries have to accept at least (distribution-spec, "Pushing Manifests").
    package static let manifestBytesMax = 4 << 20
    /// Largest image configuration that is read.
    package static let configBytesMax = 8 << 20

    package let reference: Reference
    let configuration: RegistryConfiguration
    let transport: HTTPTransport
    let authorizer: Authorizer
    let pullEndpoints: [RegistryEndpoint]
    let pushEndpoint: RegistryEndpoint
    private let allowsHTTP: Bool
    private let logger: Logger

    init(
        reference: Reference, configuration: RegistryConfiguration, transport: HTTPTransport, authorizer: Authorizer,
        allowsHTTP: Bool, logger: Logger
    ) {
        self.reference = reference
        self.configuration = configuration
        self.transport = transport
        self.authorizer = authorizer
        self.allowsHTTP = allowsHTTP
        self.logger = logger
        pullEndpoints = RegistryEndpoint.forPulling(from: reference.host, in: configuration)
        pushEndpoint = RegistryEndpoint.registry(reference.host, in: configuration)
    }

    /// What the reference's tag or digest is now: one round trip, no body.
    package func resolve() async throws -> Descriptor {
        let subject = reference.description
        return try await pulling { [self] endpoint in
            let answer = try await send(
                .HEAD, "manifests/" + manifestName, endpoint: endpoint, scopes: pullScopes(endpoint), subject: subject,
                headers: [("Accept", Self.manifestTypes)])
            if answer.status == .ok, let digest = answer.header("Docker-Content-Digest").flatMap({ Digest($0) }),
                let size = answer.contentLength, let type = answer.header("Content-Type")
            {
                guard reference.digest == nil || reference.digest == digest else {
                    throw wrongDigest(digest, wanted: reference.digest, endpoint: endpoint, subject: subject)
                }
                return Descriptor(mediaType: Self.withoutParameters(type), digest: digest, size: size)
            }
            if answer.status != .ok, answer.status != .methodNotAllowed {
                throw try await answer.error(subject: subject, host: endpoint.host)
            }
            return try await manifest(manifestName, expecting: reference.digest, at: endpoint).descriptor
        }
    }

    /// The manifest or index with that digest, verified.
    package func manifest(_ digest: Digest) async throws -> (descriptor: Descriptor, bytes: [UInt8]) {
        try await pulling { [self] endpoint in
            try await manifest(digest.description, expecting: digest, at: endpoint)
        }
    }

    private func manifest(
        _ name: String, expecting digest: Digest?, at endpoint: RegistryEndpoint
    ) async throws -> (descriptor: Descriptor, bytes: [UInt8]) {
        let subject = digest.map { reference.name + "@" + $0.description } ?? reference.description
        let answer = try await send(
            .GET, "manifests/" + name, endpoint: endpoint, scopes: pullScopes(endpoint), subject: subject,
            headers: [("Accept", Self.manifestTypes)])
        guard answer.status == .ok else { throw try await answer.error(subject: subject, host: endpoint.host) }
        let bytes = try await answer.body(bytesMax: Self.manifestBytesMax, subject: subject, host: endpoint.host)
        let actual = Digest.of(bytes)
        guard digest == nil || digest == actual else {
            throw wrongDigest(actual, wanted: digest, endpoint: endpoint, subject: subject)
        }
        let type = answer.header("Content-Type").map(Self.withoutParameters) ?? MediaType.ociManifest
        return (Descriptor(mediaType: type, digest: actual, size: Int64(bytes.count)), bytes)
    }

    /// A small blob whole, verified; throws when it is longer than `bytesMax`.
    package func readBlob(_ descriptor: Descriptor, bytesMax: Int = configBytesMax) async throws -> [UInt8] {
        let subject = reference.name + "@" + descriptor.digest.description
        return try await pulling { [self] endpoint in
            let answer = try await send(
                .GET, "blobs/" + descriptor.digest.description, endpoint: endpoint, scopes: pullScopes(endpoint),
                subject: subject)
            guard answer.status == .ok else { throw try await answer.error(subject: subject, host: endpoint.host) }
            let bytes = try await answer.body(bytesMax: bytesMax, subject: subject, host: endpoint.host)
            let actual = Digest.of(bytes)
            guard actual == descriptor.digest else {
                throw wrongDigest(actual, wanted: descriptor.digest, endpoint: endpoint, subject: subject)
            }
            return bytes
        }
    }

    // MARK: Asking

    /// Every media type that a manifest may have, in order of preference.
    private static let manifestTypes = [
        MediaType.ociIndex, MediaType.dockerIndex, MediaType.ociManifest, MediaType.dockerManifest, "*/*",
    ].joined(separator: ", ")

    private var manifestName: String { reference.digest?.description ?? reference.tag ?? "latest" }

    func pullScopes(_ endpoint: RegistryEndpoint) -> [String] {
        ["repository:" + endpoint.scopeName(repository: reference.repository) + ":pull"]
    }

    /// Runs `body` with each endpoint in turn until one succeeds; the registry's own error is the last.
    func pulling<Result: Sendable>(
        _ body: @Sendable (RegistryEndpoint) async throws -> Result
    ) async throws -> Result {
        for endpoint in pullEndpoints.dropLast() {
            do {
                return try await body(endpoint)
            } catch let error as RegistryError {
                logger.debug("mirror skipped", metadata: ["mirror": "\(endpoint.host)", "error": "\(error)"])
            }
        }
        let registry = allowsHTTP ? await reachable(pushEndpoint) : pushEndpoint
        return try await retrying { try await body(registry) }
    }

    /// Runs `body` again while it fails for a passing reason, within the configured bound.
    func retrying<Result: Sendable>(_ body: @Sendable () async throws -> Result) async throws -> Result {
        var delay = configuration.retryDelay
        for _ in 1..<max(configuration.attemptsMax, 1) {
            do {
                return try await body()
            } catch let error as RegistryError where error.isPassing {
                logger.debug("registry is tried again", metadata: ["error": "\(error)"])
                try await Task.sleep(for: delay)
                delay *= 2
            }
        }
        return try await body()
    }

    /// The endpoint over plain HTTP when it does not speak TLS; only for accesses that allow it.
    func reachable(_ endpoint: RegistryEndpoint) async -> RegistryEndpoint {
        guard allowsHTTP, !endpoint.isPlainHTTP else { return endpoint }
        do {
            let probe = HTTPClientRequest(url: endpoint.origin + "/v2/")
            let answer = try await transport.exchange(
                probe, endpoint: endpoint, host: endpoint.host, subject: reference.name)
            await answer.discard()
            return endpoint
        } catch {
            var plain = endpoint
            plain.isPlainHTTP = true
            return plain
        }
    }

    func send(
        _ method: HTTPMethod, _ path: String, endpoint: RegistryEndpoint, scopes: [String], subject: String,
        headers: [(String, String)] = [], body: (@Sendable () -> HTTPClientRequest.Body)? = nil
    ) async throws -> HTTPAnswer {
        let url = endpoint.url(repository: reference.repository, path: path)
        return try await send(
            method, url: url, endpoint: endpoint, scopes: scopes, subject: subject, headers: headers, body: body)
    }

    /// Sends a request; a 401 is answered once with what the registry asks for.
    func send(
        _ method: HTTPMethod, url: String, endpoint: RegistryEndpoint, scopes: [String], subject: String,
        headers: [(String, String)] = [], body: (@Sendable () -> HTTPClientRequest.Body)? = nil
    ) async throws -> HTTPAnswer {
        var request = HTTPClientRequest(url: url)
        request.method = method
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        // An upload may be sent to another host than the registry: it gets the bytes, not the login.
        let isOwnHost = RegistryEndpoint.hostOf(url: url) == endpoint.host
        for isFirst in [true, false] {
            if isOwnHost,
                let header = try await authorizer.header(for: endpoint, scopes: scopes, subject: subject)
            {
                request.headers.replaceOrAdd(name: "Authorization", value: header)
            }
            request.body = body?()
            let answer = try await transport.exchange(
                request, endpoint: endpoint, host: endpoint.host, subject: subject)
            guard isFirst, isOwnHost, answer.status == .unauthorized else { return answer }
            let challenges = answer.headers("WWW-Authenticate").flatMap(AuthChallenge.parse)
            guard
                try await authorizer.answer(
                    challenges: challenges, from: endpoint, scopes: scopes, subject: subject)
            else { return answer }
            await answer.discard()
        }
        throw RegistryError(.unauthorized, subject: subject, host: endpoint.host, status: 401)
    }

    func wrongDigest(
        _ actual: Digest, wanted: Digest?, endpoint: RegistryEndpoint, subject: String
    ) -> RegistryError {
        RegistryError(
            .invalid, subject: subject, host: endpoint.host,
            detail: "content has digest \(actual), not \(wanted.map(\.description) ?? "the one asked for")")
    }

    private static func withoutParameters(_ type: String) -> String {
        String(type.prefix { $0 != ";" }).trimmingSpaces
    }
}

extension String {
    fileprivate var trimmingSpaces: String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
