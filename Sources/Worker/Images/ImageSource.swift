package import ClusterModel
internal import ContentStore
internal import Foundation
package import OCI
package import Registry

/// Images of registries (`docker-image://`): what a reference is, and its tree.
package final class ImageSource: Sendable {
    private let registry: RegistryClient
    private let loader: ImageLoader
    private let resolutions: ResolutionCache

    package init(registry: RegistryClient, loader: ImageLoader) {
        self.registry = registry
        self.loader = loader
        resolutions = ResolutionCache()
    }

    /// Turns a reference into digests and the config for `platform`.
    ///
    /// No layer is pulled. A digest that is here already asks no registry, unless the mode is `.pull`.
    ///
    /// - Throws: `ImageError.unresolved` with the registry's reason.
    package func resolve(
        _ reference: Reference, platform: Platform, mode: ImageResolveMode = .standard,
        credentials: any CredentialSource
    ) async throws -> ResolvedImage {
        do {
            let repository = registry.repository(of: reference, credentials: credentials)
            let root = try await root(reference, mode: mode, repository: repository)
            let loaded = try await loader.load(root, for: platform, from: RegistryBlobs(repository))
            return ResolvedImage(
                digest: root.digest, platformManifestDigest: loaded.manifestDigest, mediaType: root.mediaType,
                config: loaded.config)
        } catch let error as RegistryError {
            throw ImageError.unresolved(reference.description, error.reason)
        } catch let error as ImageError {
            throw ImageError.unresolved(reference.description, error.description)
        }
    }

    /// The tree of the image for `platform`: pulls and unpacks what is not here.
    ///
    /// `reference` has a digest, as a rule; a tag is resolved again. `blobFetcher` is asked for each blob before the
    /// registry, so that peers can supply it.
    package func fetch(
        _ reference: Reference, platform: Platform, attributes: ImageAttributes = ImageAttributes(),
        credentials: any CredentialSource, blobFetcher: BlobFetcher? = nil,
        progress: @escaping OperationContext.Progress = { _, _, _, _, _ in }
    ) async throws -> LayerChain {
        let repository = registry.repository(of: reference, credentials: credentials)
        let id = "resolve \(reference)"
        progress(id, "", 0, 0, false)
        let root = try await root(reference, mode: .standard, repository: repository)
        if let checksum = attributes.checksum, checksum != root.digest {
            throw ImageError.checksum(reference.description, wanted: checksum, actual: root.digest)
        }
        let provider = RegistryBlobs(repository)
        let loaded = try await loader.load(root, for: platform, from: provider)
        progress(id, "", 0, 0, true)
        return try await loader.layers(
            of: loaded, limit: attributes.layerLimit, from: provider, blobFetcher: blobFetcher, progress: progress)
    }

    private func root(
        _ reference: Reference, mode: ImageResolveMode, repository: Repository
    ) async throws -> Descriptor {
        if mode != .pull, let digest = reference.digest, loader.content.contains(digest) {
            let bytes = try loader.content.read(digest, maximum: Int64(ImageLoader.documentBytesMax))
            return Descriptor(mediaType: Self.mediaType(of: bytes), digest: digest, size: Int64(bytes.count))
        }
        if mode == .local, let known = await resolutions[reference], loader.content.contains(known.digest) {
            return known
        }
        let root = try await repository.resolve()
        await resolutions.set(reference, root)
        return root
    }

    private static func mediaType(of manifest: [UInt8]) -> String {
        struct Typed: Decodable { var mediaType: String? }
        let decoded = try? JSONDecoder().decode(Typed.self, from: Data(manifest))
        return decoded?.mediaType ?? MediaType.ociManifest
    }
}

/// What references were resolved to by this process, for the resolve mode `local`.
private actor ResolutionCache {
    /// References that are remembered; the oldest half is dropped beyond it.
    private static let countMax = 4096

    private var descriptors: [Reference: Descriptor] = [:]
    private var order: [Reference] = []

    subscript(reference: Reference) -> Descriptor? { descriptors[reference] }

    func set(_ reference: Reference, _ descriptor: Descriptor) {
        if descriptors.updateValue(descriptor, forKey: reference) == nil { order.append(reference) }
        guard order.count > Self.countMax else { return }
        for old in order.prefix(Self.countMax / 2) { descriptors[old] = nil }
        order.removeFirst(Self.countMax / 2)
    }
}
