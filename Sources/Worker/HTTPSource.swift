internal import AsyncHTTPClient
internal import BuildSession
package import ClusterModel
package import ContentStore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import OCI
package import Snapshots

/// Files of the web (`http://`, `https://`): downloaded once, then only asked whether they changed.
package final class HTTPSource: Sendable {
    private static let redirectsMax = 10
    private static let connectTimeout = TimeAmount.seconds(15)
    private static let readTimeout = TimeAmount.seconds(60)

    private let client: HTTPClient
    private let content: ContentStore
    private let snapshots: SnapshotStore
    private let cache: HTTPCache

    /// Makes a source that keeps validators of past downloads in `cacheDirectory`, which is made when needed.
    package init(content: ContentStore, snapshots: SnapshotStore, cacheDirectory: String) throws {
        self.content = content
        self.snapshots = snapshots
        cache = try HTTPCache(directory: cacheDirectory)
        var settings = HTTPClient.Configuration()
        settings.redirectConfiguration = .follow(max: Self.redirectsMax, allowCycles: false)
        settings.timeout = HTTPClient.Configuration.Timeout(connect: Self.connectTimeout, read: Self.readTimeout)
        settings.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
    }

    package func shutdown() async throws { try await client.shutdown() }

    /// What the address gives now.
    ///
    /// The bytes are in the content store afterwards.
    /// With a checksum, bytes that are here already ask nobody.
    package func resolve(
        _ url: String, attributes: HTTPAttributes, context: OperationContext
    ) async throws -> HTTPFile {
        if let path = Self.uploadPath(url) {
            // The client can send it once only, and a build reads it more than once.
            if let known = cache.entry(for: url, attributes: attributes), content.contains(known.digest) {
                return known.file(url: url, attributes: attributes)
            }
            let entry = HTTPCache.Entry(digest: try await receive(path, context: context))
            try cache.store(entry, for: url, attributes: attributes)
            return entry.file(url: url, attributes: attributes)
        }
        let known = cache.entry(for: url, attributes: attributes).flatMap { content.contains($0.digest) ? $0 : nil }
        if let known, let checksum = attributes.checksum, checksum == known.digest {
            return known.file(url: url, attributes: attributes)
        }
        let request = try await request(url, attributes: attributes, known: known, context: context)
        let entry = try await download(request, url: url, known: known, context: context)
        try cache.store(entry, for: url, attributes: attributes)
        if let checksum = attributes.checksum, checksum != entry.digest {
            throw HTTPSourceError.checksum(url, wanted: checksum, actual: entry.digest)
        }
        return entry.file(url: url, attributes: attributes)
    }

    /// A tree with the one file that the address gives.
    package func fetch(
        _ url: String, attributes: HTTPAttributes, context: OperationContext
    ) async throws -> LayerChain {
        let file = try await resolve(url, attributes: attributes, context: context)
        return try await SingleFileLayer(content: content, snapshots: snapshots).make(file)
    }

    /// The path of what the client uploads (`http://buildkit-session/ID`): a context that came on its standard input.
    private static func uploadPath(_ url: String) -> String? {
        let prefix = "http://buildkit-session/"
        return url.hasPrefix(prefix) ? "/" + url.dropFirst(prefix.count) : nil
    }

    private func receive(_ path: String, context: OperationContext) async throws -> Digest {
        // Only the home node has the client itself, and it is the one that reads sources of this kind.
        guard let session = context.session as? any ClientSession else {
            throw OperationError.invalid("the context is an upload, but the build has no client session")
        }
        let writer = try content.ingest()
        defer { writer.abort() }
        let progress = context.progress
        try await session.openUpload(path: path) { bytes in
            try writer.write(bytes)
            progress("receiving the context", "", writer.written, 0, false)
        }
        let digest = try writer.commit()
        progress("receiving the context", "", writer.written, writer.written, true)
        return digest
    }

    private func request(
        _ url: String, attributes: HTTPAttributes, known: HTTPCache.Entry?, context: OperationContext
    ) async throws -> HTTPClientRequest {
        var request = HTTPClientRequest(url: url)
        request.headers.add(name: "User-Agent", value: "peerbuild")
        for (name, value) in attributes.headers.sorted(by: { $0.key < $1.key }) {
            request.headers.replaceOrAdd(name: name, value: value)
        }
        if let header = try await authorization(url, attributes: attributes, context: context) {
            request.headers.replaceOrAdd(name: "Authorization", value: header)
        }
        if let etag = known?.etag { request.headers.add(name: "If-None-Match", value: etag) }
        if let time = known?.lastModified, known?.etag == nil {
            request.headers.add(name: "If-Modified-Since", value: time)
        }
        return request
    }

    /// The secret that the source names, or else those that carry the host's name.
    private func authorization(
        _ url: String, attributes: HTTPAttributes, context: OperationContext
    ) async throws -> String? {
        guard let session = context.session else { return nil }
        if let id = attributes.authHeaderSecret {
            return try await session.secret(id).map { String(decoding: $0, as: UTF8.self) }
        }
        guard let host = URL(string: url)?.host else { return nil }
        if let header = try await session.secret("HTTP_AUTH_HEADER_" + host) {
            return String(decoding: header, as: UTF8.self)
        }
        return try await session.secret("HTTP_AUTH_TOKEN_" + host).map {
            "Bearer " + String(decoding: $0, as: UTF8.self)
        }
    }

    private func download(
        _ request: HTTPClientRequest, url: String, known: HTTPCache.Entry?, context: OperationContext
    ) async throws -> HTTPCache.Entry {
        let response: HTTPClientResponse
        do {
            response = try await client.execute(request, timeout: .hours(24))
        } catch {
            throw Self.mapped(error, url: url)
        }
        if response.status == .notModified, let known { return known }
        guard response.status == .ok else {
            throw HTTPSourceError.status(url, Int(response.status.code), response.status.reasonPhrase)
        }
        let total = response.headers.first(name: "Content-Length").flatMap { Int64($0) } ?? 0
        let id = "downloading " + url
        let writer = try content.ingest()
        defer { writer.abort() }
        do {
            for try await piece in response.body {
                try piece.withUnsafeReadableBytes { try writer.write($0) }
                context.progress(id, "", writer.written, total, false)
            }
        } catch let error as ContentStoreError {
            throw error
        } catch {
            throw Self.mapped(error, url: url)
        }
        let digest = try writer.commit()
        context.progress(id, "", writer.written, writer.written, true)
        return HTTPCache.Entry(
            digest: digest, etag: response.headers.first(name: "ETag"),
            lastModified: response.headers.first(name: "Last-Modified"),
            disposition: response.headers.first(name: "Content-Disposition"))
    }

    private static func mapped(_ error: any Error, url: String) -> any Error {
        if error is CancellationError { return error }
        if let error = error as? HTTPClientError, error == .cancelled { return CancellationError() }
        return HTTPSourceError.unreachable(url, "\(error)")
    }
}
