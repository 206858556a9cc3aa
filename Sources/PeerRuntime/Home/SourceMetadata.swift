internal import BuildSession
internal import LLB
internal import OCI
internal import Worker

/// What frontends and clients ask of sources without building them: digest and config of an image.
struct SourceMetadata: Sendable {
    let images: ImageSource
    let layouts: OCILayoutSource

    func resolve(
        _ source: Pb_SourceOp, platform: Platform, resolveMode: String, session: (any ClientSession)?
    ) async throws -> ResolvedSource {
        let parts = source.identifier.split(separator: "://", maxSplits: 1, omittingEmptySubsequences: false)
        let name = parts.count > 1 ? String(parts[1]) : ""
        switch parts.first {
        case "docker-image":
            let reference = try Reference(parsing: name)
            let mode = resolveMode.isEmpty ? source.attrs["image.resolvemode"] : resolveMode
            let image = try await images.resolve(
                reference, platform: platform, mode: ImageResolveMode(attribute: mode),
                credentials: SessionCredentials(session))
            var resolved = ResolvedSource(source: source, digest: image.digest, config: image.config)
            resolved.warning = image.warning
            return resolved
        case "oci-layout":
            guard let session, let digest = Reference.layoutDigest(name) else {
                throw BuildError("\(source.identifier): needs a client session and a digest after @")
            }
            let store = session.contentStore("oci:" + (source.attrs["oci.store"] ?? ""))
            let image = try await layouts.resolve(
                digest, platform: platform, in: SessionBlobs(store, name: source.identifier))
            return ResolvedSource(source: source, digest: image.digest, config: image.config)
        default: return ResolvedSource(source: source, digest: nil, config: [])
        }
    }
}
