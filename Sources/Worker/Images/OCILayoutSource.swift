package import BuildSession
package import ClusterModel
internal import Foundation
package import OCI

/// Images of OCI layouts (`oci-layout://`): lent by the client's session, or in a directory of this node.
package final class OCILayoutSource: Sendable {
    private let loader: ImageLoader

    package init(loader: ImageLoader) { self.loader = loader }

    /// The config of the image with that digest, for `platform`.
    package func resolve(
        _ digest: Digest, platform: Platform, in provider: any BlobProvider
    ) async throws -> ResolvedImage {
        let root = Self.root(digest)
        let loaded = try await loader.load(root, for: platform, from: provider)
        return ResolvedImage(
            digest: digest, platformManifestDigest: loaded.manifestDigest, mediaType: root.mediaType,
            config: loaded.config)
    }

    /// The tree of the image with that digest.
    package func fetch(
        _ digest: Digest, platform: Platform, attributes: ImageAttributes = ImageAttributes(),
        in provider: any BlobProvider, blobFetcher: BlobFetcher? = nil,
        progress: @escaping OperationContext.Progress = { _, _, _, _, _ in }
    ) async throws -> LayerChain {
        if let checksum = attributes.checksum, checksum != digest {
            throw ImageError.checksum(provider.name, wanted: checksum, actual: digest)
        }
        let loaded = try await loader.load(Self.root(digest), for: platform, from: provider)
        return try await loader.layers(
            of: loaded, limit: attributes.layerLimit, from: provider, blobFetcher: blobFetcher, progress: progress)
    }

    /// The size of the root document is not known beforehand: its bound counts.
    private static func root(_ digest: Digest) -> Descriptor {
        Descriptor(mediaType: MediaType.ociIndex, digest: digest, size: Int64(ImageLoader.documentBytesMax))
    }
}

/// The blobs that a client lends over its session (`oci:STOREID`).
package struct SessionBlobs: BlobProvider {
    package let name: String
    private let store: any SessionContentStore

    package init(_ store: any SessionContentStore, name: String) {
        self.store = store
        self.name = name
    }

    package var layerAnnotations: [String: String] { [:] }

    package func document(_ descriptor: Descriptor, bytesMax: Int) async throws -> [UInt8] {
        guard let size = try await store.size(of: descriptor.digest) else {
            throw ImageError.missing(name, descriptor.digest)
        }
        guard size <= Int64(bytesMax) else {
            throw ImageError.malformed(
                name, descriptor.digest, "\(size) bytes, more than the \(bytesMax) of a document")
        }
        let collected = PieceCollector(bytesMax: bytesMax)
        try await store.read(descriptor.digest, from: 0) { try await collected.append($0) }
        return await collected.bytes
    }

    package func read(
        _ descriptor: Descriptor, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        try await store.read(descriptor.digest, from: 0, piece)
    }
}

/// Joins pieces to one document with a bound.
private actor PieceCollector {
    private struct TooLong: Error, CustomStringConvertible {
        var description: String { "the client sends more bytes than it announced" }
    }

    private let bytesMax: Int
    private(set) var bytes: [UInt8] = []

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    func append(_ piece: [UInt8]) throws {
        guard bytes.count + piece.count <= bytesMax else { throw TooLong() }
        bytes += piece
    }
}

/// The blobs of an OCI layout directory of this node (OCI image-layout spec).
package struct LayoutDirectoryBlobs: BlobProvider {
    private static let pieceBytes = 256 << 10

    package let name: String
    private let directory: String

    package init(directory: String) {
        self.directory = directory
        name = "oci-layout " + directory
    }

    package var layerAnnotations: [String: String] { [:] }

    /// The manifests that `index.json` names, with their annotations.
    package func index() throws -> ImageIndex {
        guard let data = FileManager.default.contents(atPath: directory + "/index.json") else {
            throw ImageError.malformed(name, Digest.of([]), "no index.json; is it an OCI layout?")
        }
        return try JSONDecoder().decode(ImageIndex.self, from: data)
    }

    package func document(_ descriptor: Descriptor, bytesMax: Int) async throws -> [UInt8] {
        let file = try open(descriptor)
        defer { try? file.close() }
        let data = try file.read(upToCount: bytesMax + 1) ?? Data()
        guard data.count <= bytesMax else {
            throw ImageError.malformed(name, descriptor.digest, "more than the \(bytesMax) bytes of a document")
        }
        return [UInt8](data)
    }

    package func read(
        _ descriptor: Descriptor, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        let file = try open(descriptor)
        defer { try? file.close() }
        while let data = try file.read(upToCount: Self.pieceBytes), !data.isEmpty { try await piece([UInt8](data)) }
    }

    private func open(_ descriptor: Descriptor) throws -> FileHandle {
        guard let file = FileHandle(forReadingAtPath: directory + "/blobs/sha256/" + descriptor.digest.hex) else {
            throw ImageError.missing(name, descriptor.digest)
        }
        return file
    }
}
