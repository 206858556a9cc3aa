internal import ContentStore
package import OCI
package import Registry

/// Brings blobs of registries to this node so that the registry gives each once to the whole cluster.
package protocol ImageSharing: Sendable {
    /// Makes the blob, whatever it is, be in the content store: from a peer, or from the registry on behalf of all.
    ///
    /// Throws what the registry says when nobody has the blob and the registry does not give it either.
    func bring(_ blob: Descriptor, from source: SharedSource) async throws
    /// What a peer resolved the reference to not long ago, for when the registry does not answer.
    func peersResolution(of reference: Reference) async -> RecentResolution?
}

/// Where a blob comes from when no peer has it, and on whose behalf.
package struct SharedSource: Sendable {
    /// Any image of the repository.
    package var reference: Reference
    package var provider: any BlobProvider
    package var credentials: any CredentialSource
    package var progress: OperationContext.Progress

    package init(
        reference: Reference, provider: any BlobProvider, credentials: any CredentialSource,
        progress: @escaping OperationContext.Progress = { _, _, _, _, _ in }
    ) {
        self.reference = reference
        self.provider = provider
        self.credentials = credentials
        self.progress = progress
    }
}

/// What a reference was a while ago.
package struct RecentResolution: Sendable, Hashable {
    package var descriptor: Descriptor
    package var age: Duration
    /// Who resolved it, for people.
    package var node: String

    package init(descriptor: Descriptor, age: Duration, node: String) {
        self.descriptor = descriptor
        self.age = age
        self.node = node
    }
}

/// A repository's blobs by way of the cluster.
struct SharedBlobs: BlobProvider {
    let base: RegistryBlobs
    let source: SharedSource
    let sharing: any ImageSharing
    let loader: ImageLoader

    var name: String { base.name }
    var layerAnnotations: [String: String] { base.layerAnnotations }

    func document(_ descriptor: Descriptor, bytesMax: Int) async throws -> [UInt8] {
        // Documents are too small to be watched.
        var quiet = source
        quiet.progress = { _, _, _, _, _ in }
        try await sharing.bring(descriptor, from: quiet)
        return try loader.content.read(descriptor.digest, maximum: Int64(bytesMax))
    }

    func read(_ descriptor: Descriptor, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void) async throws {
        try await sharing.bring(descriptor, from: source)
        let reader = try loader.content.reader(of: descriptor.digest)
        var position: Int64 = 0
        while position < reader.size {
            let bytes = try reader.bytes(at: position, count: 1 << 20)
            position += Int64(bytes.count)
            try await piece(bytes)
        }
    }
}
