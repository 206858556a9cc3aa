internal import ClusterModel
package import ContentStore
internal import Foundation
package import OCI
package import Snapshots

/// Tries to make a blob appear in the content store from elsewhere, such as a peer; true when it is there now.
package typealias BlobFetcher = @Sendable (Descriptor) async throws -> Bool

/// Brings images from any provider into the stores of this node: documents, blobs and layers.
package struct ImageLoader: Sendable {
    /// Blobs of one image that are pulled and unpacked at once.
    package static let parallelMax = 4
    /// Layers of one image; more than any overlay mount takes.
    static let layersMax = 1000
    static let documentBytesMax = 8 << 20

    package let content: ContentStore
    package let snapshots: SnapshotStore
    package let index: LayerBlobIndex

    package init(content: ContentStore, snapshots: SnapshotStore, index: LayerBlobIndex) {
        self.content = content
        self.snapshots = snapshots
        self.index = index
    }

    /// The manifest and config of an image for one platform.
    struct Loaded: Sendable {
        var manifestDigest: Digest
        var manifest: ImageManifest
        var config: [UInt8]
    }

    static func isManifest(_ mediaType: String) -> Bool { isIndex(mediaType) || isSingleManifest(mediaType) }

    private static func isIndex(_ type: String) -> Bool { type == MediaType.ociIndex || type == MediaType.dockerIndex }

    private static func isSingleManifest(_ type: String) -> Bool {
        type == MediaType.ociManifest || type == MediaType.dockerManifest
    }

    /// Reads the manifest for `platform` and its config, from the content store or else from `provider`.
    func load(_ root: Descriptor, for platform: Platform, from provider: any BlobProvider) async throws -> Loaded {
        var descriptor = root
        var bytes = try await document(descriptor, from: provider)
        let kind = try Self.decode(DocumentKind.self, bytes, descriptor, provider)
        if kind.manifests != nil {
            let index = try Self.decode(ImageIndex.self, bytes, descriptor, provider)
            guard let chosen = index.manifest(for: platform) else {
                throw ImageError.noPlatform(provider.name, platform, offered: index.platforms)
            }
            descriptor = chosen
            bytes = try await document(descriptor, from: provider)
        }
        let manifest = try Self.decode(ImageManifest.self, bytes, descriptor, provider)
        guard manifest.layers.count <= Self.layersMax else {
            throw ImageError.malformed(provider.name, descriptor.digest, "more than \(Self.layersMax) layers")
        }
        let config = try await document(manifest.config, from: provider)
        return Loaded(manifestDigest: descriptor.digest, manifest: manifest, config: config)
    }

    /// Only what tells an index from a manifest.
    private struct DocumentKind: Decodable {
        var manifests: [Element]?
        struct Element: Decodable {}
    }

    private static func decode<Value: Decodable>(
        _ type: Value.Type, _ bytes: [UInt8], _ descriptor: Descriptor, _ provider: any BlobProvider
    ) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw ImageError.malformed(provider.name, descriptor.digest, "\(type) expected: \(error)")
        }
    }

    private func document(_ descriptor: Descriptor, from provider: any BlobProvider) async throws -> [UInt8] {
        if content.contains(descriptor.digest) {
            let bytes = try content.read(descriptor.digest, maximum: Int64(Self.documentBytesMax))
            if Digest.of(bytes) == descriptor.digest { return bytes }
            // Damaged on this disk: the provider has it.
            try content.delete(descriptor.digest)
        }
        let bytes = try await provider.document(descriptor, bytesMax: Self.documentBytesMax)
        try content.put(bytes, expected: descriptor.digest)
        return bytes
    }

    /// Unpacks the layers that are not here yet and returns them all, lowest first.
    ///
    /// `blobFetcher` is asked for each blob before the provider.
    func layers(
        of image: Loaded, limit: Int?, from provider: any BlobProvider, blobFetcher: BlobFetcher?,
        progress: @escaping OperationContext.Progress
    ) async throws -> LayerChain {
        let config = try Self.decode(ImageConfig.self, image.config, image.manifest.config, provider)
        let diffIDs = config.rootfs.diffIDs
        guard diffIDs.count == image.manifest.layers.count else {
            throw ImageError.malformed(
                provider.name, image.manifestDigest,
                "\(image.manifest.layers.count) layers, but \(diffIDs.count) diff ids in the config")
        }
        let wanted = Array(zip(image.manifest.layers, diffIDs).prefix(limit ?? diffIDs.count))
        try Self.check(wanted.map(\.0), provider)
        let chainIDs = Self.chainIDs(wanted.map(\.1))
        let missing = zip(wanted, chainIDs).filter { known(chainID: $0.1) == nil }.map(\.0.0)
        var seen: Set<Digest> = []
        _ = try await Self.parallel(missing.filter { seen.insert($0.digest).inserted }) { blob in
            try await fetch(blob, from: provider, blobFetcher: blobFetcher, progress: progress)
        }
        var chain = LayerChain.scratch
        for ((blob, diffID), chainID) in zip(wanted, chainIDs) {
            var layer: LayerDescriptor
            if let known = known(chainID: chainID) {
                layer = known
            } else {
                layer = try await unpack(blob, diffID, over: chain, progress: progress) {
                    try await fetch(blob, from: provider, blobFetcher: blobFetcher, progress: progress)
                }
                try index.remember(layer, forChainID: chainID)
            }
            layer.blob = named(blob, by: provider)
            chain = chain.appending(layer)
        }
        return chain
    }

    /// Names of the trees up to each layer (OCI image-spec, "Layer ChainID").
    static func chainIDs(_ diffIDs: [Digest]) -> [Digest] {
        var result: [Digest] = []
        for diffID in diffIDs {
            result.append(result.last.map { Digest.of("\($0) \(diffID)".utf8) } ?? diffID)
        }
        return result
    }

    private static func check(_ layers: [Descriptor], _ provider: any BlobProvider) throws {
        for blob in layers where LayerCompression.algorithm(ofMediaType: blob.mediaType) == nil {
            throw ImageError.malformed(
                provider.name, blob.digest, "a layer of type \(blob.mediaType); only tar layers of images can be used")
        }
    }

    /// The layer that was unpacked before on top of the same layers, if it is still here.
    private func known(chainID: Digest) -> LayerDescriptor? {
        index.layer(forChainID: chainID).flatMap { snapshots.contains($0.id) ? $0 : nil }
    }

    /// Makes a layer of a blob that is here; one that is damaged on this disk is dropped and fetched again, once.
    private func unpack(
        _ blob: Descriptor, _ diffID: Digest, over chain: LayerChain,
        progress: @escaping OperationContext.Progress, fetch: () async throws -> Void
    ) async throws -> LayerDescriptor {
        let id = "extracting \(blob.digest)"
        progress(id, "extracting", 0, 0, false)
        let reader = try content.reader(of: blob.digest)
        var layer: LayerDescriptor
        do {
            layer = try await snapshots.importLayer(tar: reader, over: chain, diffID: diffID)
        } catch {
            try Task.checkCancellation()
            guard try await BlockingThread.run({ try reader.damage() }) != nil else { throw error }
            try content.delete(reader)
            try await fetch()
            let fresh = try content.reader(of: blob.digest)
            layer = try await snapshots.importLayer(tar: fresh, over: chain, diffID: diffID)
        }
        layer.diffID = diffID
        layer.blob = nil
        progress(id, "extracting", 0, 0, true)
        return layer
    }

    private func named(_ blob: Descriptor, by provider: any BlobProvider) -> Descriptor {
        var blob = Descriptor(mediaType: blob.mediaType, digest: blob.digest, size: blob.size)
        blob.annotations = provider.layerAnnotations.isEmpty ? nil : provider.layerAnnotations
        return blob
    }

    /// Makes the blob be in the content store.
    func fetch(
        _ blob: Descriptor, from provider: any BlobProvider, blobFetcher: BlobFetcher?,
        progress: @escaping OperationContext.Progress
    ) async throws {
        let id = blob.digest.description
        if content.contains(blob.digest) { return }
        if let blobFetcher, try await blobFetcher(blob), content.contains(blob.digest) {
            progress(id, "", blob.size, blob.size, true)
            return
        }
        let writer = try content.ingest()
        defer { writer.abort() }
        progress(id, "", 0, blob.size, false)
        try await provider.read(blob) { bytes in
            guard writer.written + Int64(bytes.count) <= blob.size else {
                throw ImageError.malformed(
                    provider.name, blob.digest, "longer than the \(blob.size) bytes of its descriptor")
            }
            try writer.write(bytes)
            progress(id, "", writer.written, blob.size, false)
        }
        try writer.commit(expected: blob.digest)
        progress(id, "", blob.size, blob.size, true)
    }

    /// Runs `body` over all items, at most `parallelMax` at once; results come in any order.
    static func parallel<Item: Sendable, Result: Sendable>(
        _ items: [Item], _ body: @escaping @Sendable (Item) async throws -> Result
    ) async throws -> [Result] {
        try await withThrowingTaskGroup(of: Result.self) { group in
            var results: [Result] = []
            var rest = items[...]
            for _ in 0..<Self.parallelMax {
                guard let item = rest.popFirst() else { break }
                group.addTask { try await body(item) }
            }
            while let result = try await group.next() {
                results.append(result)
                if let item = rest.popFirst() { group.addTask { try await body(item) } }
            }
            return results
        }
    }
}
