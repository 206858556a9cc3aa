internal import ClusterModel
internal import ContentStore
internal import Foundation
internal import OCI
package import Registry
internal import Snapshots

/// Makes images of results, on the node that holds their layers (exporters `image`, `oci` and `docker`).
///
/// The same input gives the same digests on every node: times come from the layers, archives are canonical,
/// compression is deterministic and base layers keep their bytes.
package struct ImageExporter: Sendable {
    /// Which form of image is wanted.
    package enum Kind: String, Sendable {
        case image
        case oci
        case docker
    }

    let content: ContentStore
    let snapshots: SnapshotStore
    let index: LayerBlobIndex
    let registry: RegistryClient
    let credentials: any CredentialSource
    let blobFetcher: BlobFetcher?
    let progress: OperationContext.Progress

    /// Makes an exporter for one client.
    ///
    /// `credentials` are the client's, for pushes and for base layers that only their registry has. `blobFetcher` is
    /// asked first for a base layer's blob that is not here.
    package init(
        loader: ImageLoader, registry: RegistryClient, credentials: any CredentialSource,
        blobFetcher: BlobFetcher? = nil,
        progress: @escaping OperationContext.Progress = { _, _, _, _, _ in }
    ) {
        content = loader.content
        snapshots = loader.snapshots
        index = loader.index
        self.registry = registry
        self.credentials = credentials
        self.blobFetcher = blobFetcher
        self.progress = progress
    }

    /// Packs layers and writes configs, manifests and index into the content store.
    ///
    /// Blobs of base layers may still be missing afterwards; writing the image fetches them.
    package func assemble(_ input: ExportInput, kind: Kind) async throws -> AssembledImage {
        guard !input.items.isEmpty else { throw ExportError.unsupported("there is no result to export as an image") }
        guard kind != .docker || input.items.count == 1 else {
            throw ExportError.unsupported(
                "docker exporter does not currently support exporting manifest lists; export one platform, or use type=oci"
            )
        }
        guard try !input.flag("rewrite-timestamp", default: false) else {
            throw ExportError.unsupported(
                "rewrite-timestamp=true is not supported; leave it out: source-date-epoch sets the image's own times")
        }
        let usesOCITypes = try input.flag("oci-mediatypes", default: true)
        let compression = try LayerCompression(attributes: input.attributes)
        let packer = LayerPacker(
            content: content, snapshots: snapshots, index: index, compression: compression,
            isForced: try input.flag("force-compression", default: false),
            usesOCITypes: usesOCITypes || compression.algorithm == .zstd)
        let annotations = try ImageAnnotations(input)
        var parts: [AssembledImage.Part] = []
        var created: String?
        for item in input.items {
            let made = try await part(item, of: input, packer: packer, annotations: annotations)
            parts.append(made.part)
            created = created ?? made.created
        }
        let names = try input.names()
        if parts.count == 1, input.items.count == 1 {
            var root = parts[0].manifest
            root.annotations = Self.nonEmpty(annotations.annotations(.manifestDescriptor, for: input.items[0].platform))
            return AssembledImage(root: root, parts: parts, isIndex: false, names: names, created: created)
        }
        let root = try writeIndex(parts, usesOCITypes: packer.usesOCITypes, annotations: annotations)
        return AssembledImage(root: root, parts: parts, isIndex: true, names: names, created: created)
    }

    private func part(
        _ item: ExportInput.Item, of input: ExportInput, packer: LayerPacker, annotations: ImageAnnotations
    ) async throws -> (part: AssembledImage.Part, created: String?) {
        progress("exporting layers", "", 0, 0, false)
        var layers: [LayerPacker.Packed] = []
        for layer in item.chain.layers {
            try Task.checkCancellation()
            layers.append(try await packer.pack(layer))
        }
        progress("exporting layers", "", 0, 0, true)
        let patch = ConfigPatch(
            platform: item.platform, layers: layers.map { ConfigPatch.Layer(diffID: $0.diffID, created: $0.created) },
            baseLayerCount: Self.layerCount(ofConfig: item.baseConfig),
            epoch: try input.epoch(for: item.platform).map { Timestamp.text(seconds: $0) },
            inlineCache: item.inlineCache)
        let patched = try patch.apply(to: item.config)
        let oci = packer.usesOCITypes
        let config = try store(
            patched.bytes, mediaType: oci ? MediaType.ociConfig : MediaType.dockerConfig, label: "exporting config")
        let manifestType = oci ? MediaType.ociManifest : MediaType.dockerManifest
        var members = [
            JSONValue.Member("schemaVersion", .integer(2)),
            JSONValue.Member("mediaType", .string(manifestType)),
            JSONValue.Member("config", config.json),
            JSONValue.Member("layers", .array(layers.map(\.blob.json))),
        ]
        let wanted = annotations.annotations(.manifest, for: item.platform)
        if !wanted.isEmpty { members.append(JSONValue.Member("annotations", .strings(wanted))) }
        var manifest = try store(
            JSONValue.object(members).indented, mediaType: manifestType, label: "exporting manifest")
        manifest.platform = item.platform
        let origins = Dictionary(layers.map { ($0.blob.digest, $0.origins) }) { first, _ in first }
        return (
            AssembledImage.Part(manifest: manifest, config: config, layers: layers.map(\.blob), origins: origins),
            patched.created
        )
    }

    private func writeIndex(
        _ parts: [AssembledImage.Part], usesOCITypes: Bool, annotations: ImageAnnotations
    ) throws -> Descriptor {
        let type = usesOCITypes ? MediaType.ociIndex : MediaType.dockerIndex
        let manifests = parts.map { part in
            var descriptor = part.manifest
            if let platform = descriptor.platform {
                descriptor.annotations = Self.nonEmpty(annotations.annotations(.manifestDescriptor, for: platform))
            }
            return descriptor.json
        }
        var members = [
            JSONValue.Member("schemaVersion", .integer(2)),
            JSONValue.Member("mediaType", .string(type)),
            JSONValue.Member("manifests", .array(manifests)),
        ]
        let wanted = annotations.annotations(.index)
        if !wanted.isEmpty { members.append(JSONValue.Member("annotations", .strings(wanted))) }
        var root = try store(
            JSONValue.object(members).indented, mediaType: type, label: "exporting manifest list")
        root.annotations = Self.nonEmpty(annotations.annotations(.indexDescriptor))
        return root
    }

    private func store(_ bytes: [UInt8], mediaType: String, label: String) throws -> Descriptor {
        let digest = try content.put(bytes)
        progress("\(label) \(digest)", "", 0, 0, true)
        return Descriptor(mediaType: mediaType, digest: digest, size: Int64(bytes.count))
    }

    private static func layerCount(ofConfig config: [UInt8]?) -> Int {
        guard let config, let decoded = try? JSONDecoder().decode(ImageConfig.self, from: Data(config)) else {
            return 0
        }
        return decoded.rootfs.diffIDs.count
    }

    private static func nonEmpty(_ values: [String: String]) -> [String: String]? { values.isEmpty ? nil : values }

    /// Makes a blob of the image be in the content store: from a peer, or from a registry that it came from.
    func require(_ blob: Descriptor, origins: [BlobOrigin]) async throws {
        if content.contains(blob.digest) { return }
        if let blobFetcher, try await blobFetcher(blob), content.contains(blob.digest) { return }
        let loader = ImageLoader(content: content, snapshots: snapshots, index: index)
        var failure: (any Error)?
        for origin in origins {
            let repository = registry.repository(
                of: Reference(host: origin.host, repository: origin.repository, digest: blob.digest),
                credentials: credentials)
            do {
                return try await loader.fetch(
                    blob, from: RegistryBlobs(repository), blobFetcher: nil, progress: progress)
            } catch let error as RegistryError {
                failure = error
            }
        }
        throw failure ?? ExportError.missingBlob(blob.digest)
    }
}
