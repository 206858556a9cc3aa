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

    private let sharing: (any ImageSharing)?

    /// With `sharing` blobs come by way of the cluster.
    package init(
        registry: RegistryClient, loader: ImageLoader, resolutions: ResolutionCache = ResolutionCache(),
        sharing: (any ImageSharing)? = nil
    ) {
        self.registry = registry
        self.loader = loader
        self.resolutions = resolutions
        self.sharing = sharing
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
            let access = access(reference, credentials)
            let (root, warning) = try await root(reference, mode: mode, access: access)
            let loaded = try await loader.load(root, for: platform, from: access.provider)
            var image = ResolvedImage(
                digest: root.digest, platformManifestDigest: loaded.manifestDigest, mediaType: root.mediaType,
                config: loaded.config)
            image.warning = warning
            return image
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
        let access = access(reference, credentials, progress)
        let id = "resolve \(reference)"
        progress(id, "", 0, 0, false)
        let (root, warning) = try await root(reference, mode: .standard, access: access)
        if let warning { progress("warning: " + warning, "", 0, 0, true) }
        if let checksum = attributes.checksum, checksum != root.digest {
            throw ImageError.checksum(reference.description, wanted: checksum, actual: root.digest)
        }
        let loaded = try await loader.load(root, for: platform, from: access.provider)
        progress(id, "", 0, 0, true)
        var fetcher = blobFetcher
        if let sharing {
            fetcher = {
                try await sharing.bring($0, from: access.source)
                return true
            }
        }
        return try await loader.layers(
            of: loaded, limit: attributes.layerLimit, from: access.provider, blobFetcher: fetcher, progress: progress)
    }

    /// A repository and its blobs, as the owner of `credentials` may use them.
    private struct Access: Sendable {
        var repository: Repository
        var provider: any BlobProvider
        var source: SharedSource
    }

    private func access(
        _ reference: Reference, _ credentials: any CredentialSource,
        _ progress: @escaping OperationContext.Progress = { _, _, _, _, _ in }
    ) -> Access {
        let repository = registry.repository(of: reference, credentials: credentials)
        let blobs = RegistryBlobs(repository)
        let source = SharedSource(
            reference: reference, provider: blobs, credentials: credentials, progress: progress)
        guard let sharing else { return Access(repository: repository, provider: blobs, source: source) }
        let shared = SharedBlobs(base: blobs, source: source, sharing: sharing, loader: loader)
        return Access(repository: repository, provider: shared, source: source)
    }

    /// What the reference names, and a warning when that is not the registry's present word.
    private func root(
        _ reference: Reference, mode: ImageResolveMode, access: Access
    ) async throws -> (Descriptor, warning: String?) {
        if mode != .pull, let digest = reference.digest {
            if sharing != nil, !loader.content.contains(digest) {
                // Whatever document it is, its digest is enough to have it from a peer.
                let unknown = Descriptor(
                    mediaType: MediaType.ociIndex, digest: digest, size: Int64(ImageLoader.documentBytesMax))
                _ = try await access.provider.document(unknown, bytesMax: ImageLoader.documentBytesMax)
            }
            if loader.content.contains(digest) {
                let bytes = try loader.content.read(digest, maximum: Int64(ImageLoader.documentBytesMax))
                let type = Self.mediaType(of: bytes)
                return (Descriptor(mediaType: type, digest: digest, size: Int64(bytes.count)), nil)
            }
        }
        if mode == .local, let known = await resolutions[reference], loader.content.contains(known.digest) {
            return (known, nil)
        }
        do {
            let root = try await access.repository.resolve()
            await resolutions.set(reference, root)
            return (root, nil)
        } catch let error as RegistryError where error.isPassing && mode != .pull {
            return try await recent(reference, instead: error)
        }
    }

    /// What the reference was lately, as the registry does not answer; its error when nobody knows.
    private func recent(
        _ reference: Reference, instead error: RegistryError
    ) async throws -> (Descriptor, warning: String?) {
        var known = await resolutions.recent(reference)
        if known == nil { known = await sharing?.peersResolution(of: reference) }
        guard let known else { throw error }
        let minutes = known.age.components.seconds / 60
        let warning =
            "\(reference.familiar): \(error.reason); using \(known.descriptor.digest), "
            + "to which \(known.node) resolved it \(minutes) min ago"
        return (known.descriptor, warning)
    }

    private static func mediaType(of manifest: [UInt8]) -> String {
        struct Typed: Decodable { var mediaType: String? }
        let decoded = try? JSONDecoder().decode(Typed.self, from: Data(manifest))
        return decoded?.mediaType ?? MediaType.ociManifest
    }
}
