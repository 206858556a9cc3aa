internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
package import OCI

extension Repository {
    /// How a blob came to be in the registry.
    package enum UploadOutcome: Sendable, Hashable {
        case alreadyThere
        /// Linked from another repository of the same registry, without bytes.
        case mounted
        case uploaded
    }

    /// Puts a blob into the registry unless it is there, or can be mounted from one of `mountSources`.
    ///
    /// `mountSources` are repositories of the same registry. `source` is asked for only when bytes have to be sent.
    /// `progress` is told the bytes sent so far.
    @discardableResult
    package func upload(
        _ descriptor: Descriptor, mountSources: [String] = [],
        progress: @escaping @Sendable (_ bytes: Int64) -> Void = { _ in },
        from source: @escaping @Sendable () async throws -> BlobSource
    ) async throws -> UploadOutcome {
        let subject = reference.name + "@" + descriptor.digest.description
        let endpoint = await reachable(pushEndpoint)
        return try await retrying { [self] in
            if try await has(descriptor.digest, at: endpoint, subject: subject) { return .alreadyThere }
            for other in mountSources where other != reference.repository {
                let scopes = pushScopes + ["repository:\(other):pull"]
                let query = "?mount=" + descriptor.digest.description + "&from=" + URLText.queryEscaped(other)
                let answer = try await send(
                    .POST, "blobs/uploads/" + query, endpoint: endpoint, scopes: scopes, subject: subject,
                    headers: [("Content-Length", "0")])
                await answer.discard()
                if answer.status == .created { return .mounted }
                if answer.status == .accepted, let location = answer.header("Location") {
                    try await put(
                        descriptor, source(), at: location, endpoint: endpoint, subject: subject, progress: progress)
                    return .uploaded
                }
            }
            let answer = try await send(
                .POST, "blobs/uploads/", endpoint: endpoint, scopes: pushScopes, subject: subject,
                headers: [("Content-Length", "0")])
            guard answer.status == .accepted, let location = answer.header("Location") else {
                throw try await answer.error(subject: subject, host: endpoint.host)
            }
            await answer.discard()
            try await put(descriptor, source(), at: location, endpoint: endpoint, subject: subject, progress: progress)
            return .uploaded
        }
    }

    /// Puts a manifest or index under `name`: a tag, or its digest.
    package func putManifest(_ bytes: [UInt8], mediaType: String, as name: String) async throws {
        let subject = name.hasPrefix("sha256:") ? reference.name + "@" + name : reference.name + ":" + name
        let endpoint = await reachable(pushEndpoint)
        try await retrying { [self] in
            let answer = try await send(
                .PUT, "manifests/" + name, endpoint: endpoint, scopes: pushScopes, subject: subject,
                headers: [("Content-Type", mediaType)], body: { .bytes(ByteBuffer(bytes: bytes)) })
            guard (200..<300).contains(answer.status.code) else {
                throw try await answer.error(subject: subject, host: endpoint.host)
            }
            let actual = answer.header("Docker-Content-Digest").flatMap { Digest($0) }
            await answer.discard()
            guard actual == nil || actual == Digest.of(bytes) else {
                throw wrongDigest(
                    actual ?? Digest.of([]), wanted: Digest.of(bytes), endpoint: endpoint, subject: subject)
            }
        }
    }

    private var pushScopes: [String] { ["repository:\(reference.repository):pull,push"] }

    private func has(_ digest: Digest, at endpoint: RegistryEndpoint, subject: String) async throws -> Bool {
        let answer = try await send(
            .HEAD, "blobs/" + digest.description, endpoint: endpoint, scopes: pushScopes, subject: subject)
        switch answer.status {
        case .ok: return true
        case .notFound: return false
        default: throw try await answer.error(subject: subject, host: endpoint.host)
        }
    }

    /// Sends the bytes in one piece (distribution-spec, "Pushing a blob monolithically", POST then PUT).
    private func put(
        _ descriptor: Descriptor, _ source: BlobSource, at location: String, endpoint: RegistryEndpoint,
        subject: String,
        progress: @escaping @Sendable (Int64) -> Void
    ) async throws {
        let url = URLText.adding(
            query: "digest=" + URLText.queryEscaped(descriptor.digest.description),
            to: URLText.absolute(location, origin: endpoint.origin))
        let answer = try await send(
            .PUT, url: url, endpoint: endpoint, scopes: pushScopes, subject: subject,
            headers: [("Content-Type", "application/octet-stream")],
            body: { .stream(BlobPieces(source: source, sent: progress), length: .known(descriptor.size)) })
        guard answer.status == .created || answer.status == .noContent else {
            throw try await answer.error(subject: subject, host: endpoint.host)
        }
        await answer.discard()
    }
}
