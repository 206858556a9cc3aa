package import OCI
package import Registry

/// The blobs of a registry's repository.
package struct RegistryBlobs: BlobProvider {
    private let repository: Repository

    package init(_ repository: Repository) { self.repository = repository }

    package var name: String { repository.reference.description }

    package var layerAnnotations: [String: String] {
        [BlobOrigin.annotationPrefix + repository.reference.host: repository.reference.repository]
    }

    package func document(_ descriptor: Descriptor, bytesMax: Int) async throws -> [UInt8] {
        if ImageLoader.isManifest(descriptor.mediaType) {
            return try await repository.manifest(descriptor.digest).bytes
        }
        return try await repository.readBlob(descriptor, bytesMax: bytesMax)
    }

    package func read(
        _ descriptor: Descriptor, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        try await repository.download(descriptor, piece)
    }
}
