internal import ContentStore
internal import OCI
internal import Registry

extension ImageExporter {
    /// Runs the exporter `image`: assembles, pushes when the attributes say so, and returns the exporter response.
    package func exportImage(_ input: ExportInput) async throws -> [String: String] {
        let image = try await assemble(input, kind: .image)
        if try input.flag("push", default: false) {
            guard !image.names.isEmpty else {
                throw ExportError.unsupported(
                    "there is no name to push to; add name=REGISTRY/REPOSITORY:TAG to the output")
            }
            let isInsecure = try input.flag("registry.insecure", default: false)
            let byDigest = try input.flag("push-by-digest", default: false)
            for name in image.names { try await push(image, to: name, isInsecure: isInsecure, byDigest: byDigest) }
        }
        return image.response.merging(input.responseMetadata) { own, _ in own }
    }

    /// Pushes blobs and configs, then manifests, then the root under its tag.
    func push(_ image: AssembledImage, to name: Reference, isInsecure: Bool, byDigest: Bool) async throws {
        let repository = registry.repository(of: name, credentials: credentials, isInsecure: isInsecure)
        do {
            progress("pushing layers", "", 0, 0, false)
            let origins = image.parts.reduce(into: [Digest: [BlobOrigin]]()) { all, part in
                all.merge(part.origins) { first, _ in first }
            }
            let blobs = image.blobs.filter { $0.kind == "layer" || $0.kind == "config" }.map(\.descriptor)
            _ = try await ImageLoader.parallel(blobs) { blob in
                try await upload(blob, origins: origins[blob.digest] ?? [], to: repository)
            }
            progress("pushing layers", "", 0, 0, true)
            let id = "pushing manifest for \(name)@\(image.root.digest)"
            progress(id, "", 0, 0, false)
            if image.isIndex {
                for part in image.parts {
                    try await put(part.manifest, as: part.manifest.digest.description, to: repository)
                }
            }
            try await put(
                image.root, as: byDigest ? image.root.digest.description : name.tag ?? "latest", to: repository)
            progress(id, "", 0, 0, true)
        } catch let error as RegistryError {
            throw ExportError.push(name.description, error.description)
        }
    }

    private func upload(_ blob: Descriptor, origins: [BlobOrigin], to repository: Repository) async throws {
        let sources = origins.filter { $0.host == repository.reference.host }.map(\.repository)
        let report = progress
        try await repository.upload(blob, mountSources: sources) {
            report(blob.digest.description, "", $0, blob.size, $0 == blob.size)
        } from: {
            try await require(blob, origins: origins)
            let reader = try content.reader(of: blob.digest)
            return BlobSource(size: reader.size) { offset, count in try reader.bytes(at: offset, count: count) }
        }
    }

    private func put(_ manifest: Descriptor, as name: String, to repository: Repository) async throws {
        let bytes = try content.read(manifest.digest)
        try await repository.putManifest(bytes, mediaType: manifest.mediaType, as: name)
    }
}
