internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
package import OCI

extension Repository {
    /// Reads a blob in pieces, in order, each byte once; the digest is verified before this returns.
    ///
    /// A connection that breaks is opened again at the byte where it broke. Nothing that `piece` was given may be used
    /// before this returns.
    package func download(
        _ descriptor: Descriptor, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        let transfer = BlobTransfer(descriptor: descriptor, piece: piece)
        try await pulling { [self] endpoint in
            try await download(descriptor, from: endpoint, into: transfer)
        }
    }

    private func download(
        _ descriptor: Descriptor, from endpoint: RegistryEndpoint, into transfer: BlobTransfer
    ) async throws {
        let subject = reference.name + "@" + descriptor.digest.description
        let start = await transfer.received
        let range = start > 0 ? [("Range", "bytes=\(start)-")] : []  // RFC 9110 §14.2
        let answer = try await send(
            .GET, "blobs/" + descriptor.digest.description, endpoint: endpoint, scopes: pullScopes(endpoint),
            subject: subject, headers: range)
        let skip: Int64
        switch answer.status {
        case .ok: skip = start
        case .partialContent where start > 0: skip = 0
        default: throw try await answer.error(subject: subject, host: endpoint.host)
        }
        do {
            var left = skip
            for try await buffer in answer.body {
                let drop = min(left, Int64(buffer.readableBytes))
                left -= drop
                try await transfer.take(
                    Array(buffer.readableBytesView.dropFirst(Int(drop))), subject: subject, endpoint)
            }
        } catch let failure as BlobTransfer.ReceiverFailure {
            throw failure.cause
        } catch {
            throw HTTPTransport.mapped(error, subject: subject, host: endpoint.host)
        }
        try await transfer.finish(subject: subject, endpoint)
    }
}

/// The state of one download over all its tries.
private actor BlobTransfer {
    /// The receiver of the bytes failed, which is no fault of the registry.
    struct ReceiverFailure: Error {
        var cause: any Error
    }

    private let descriptor: Descriptor
    private let piece: @Sendable ([UInt8]) async throws -> Void
    private var hasher = DigestHasher()
    private(set) var received: Int64 = 0

    init(descriptor: Descriptor, piece: @escaping @Sendable ([UInt8]) async throws -> Void) {
        self.descriptor = descriptor
        self.piece = piece
    }

    func take(_ bytes: [UInt8], subject: String, _ endpoint: RegistryEndpoint) async throws {
        guard !bytes.isEmpty else { return }
        guard received + Int64(bytes.count) <= descriptor.size else {
            throw RegistryError(
                .invalid, subject: subject, host: endpoint.host,
                detail: "the blob is longer than the \(descriptor.size) bytes of its descriptor")
        }
        received += Int64(bytes.count)
        hasher.update(bytes)
        do {
            try await piece(bytes)
        } catch {
            throw ReceiverFailure(cause: error)
        }
    }

    func finish(subject: String, _ endpoint: RegistryEndpoint) throws {
        guard received == descriptor.size else {
            throw RegistryError(
                .unreachable, subject: subject, host: endpoint.host,
                detail: "the blob ended after \(received) of \(descriptor.size) bytes")
        }
        let actual = hasher.finish()
        guard actual == descriptor.digest else {
            throw RegistryError(
                .invalid, subject: subject, host: endpoint.host,
                detail: "the blob has digest \(actual), not \(descriptor.digest)")
        }
    }
}
