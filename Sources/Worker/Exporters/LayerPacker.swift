internal import ClusterModel
internal import ContentStore
internal import OCI
internal import Snapshots
internal import Transfer

/// Turns layers into blobs: the bytes they came as, or a deterministic archive of their own.
struct LayerPacker: Sendable {
    /// A layer as an image refers to it.
    struct Packed: Sendable {
        var blob: Descriptor
        var diffID: Digest
        /// Registries that have the blob already.
        var origins: [BlobOrigin]
        /// RFC 3339 time of the newest file.
        var created: String
    }

    let content: ContentStore
    let snapshots: SnapshotStore
    let index: LayerBlobIndex
    let compression: LayerCompression
    /// Pack base layers anew when they are compressed otherwise.
    let isForced: Bool
    let usesOCITypes: Bool

    /// The layer's blob; a base layer keeps its registry's bytes, which need not be here.
    func pack(_ layer: LayerDescriptor) async throws -> Packed {
        if let blob = layer.blob, let diffID = layer.diffID, isKept(blob) {
            return Packed(
                blob: withTypeOfImage(blob), diffID: diffID, origins: BlobOrigin.all(of: blob),
                created: try created(layer.id))
        }
        if let known = index.packed(layer.id, compression), content.contains(known.blob.digest) {
            return Packed(
                blob: withTypeOfImage(known.blob), diffID: known.diffID, origins: [], created: try created(layer.id))
        }
        let made = try await BlockingThread.run { try archive(layer.id) }
        try index.remember(made, for: layer.id, compression)
        return Packed(
            blob: withTypeOfImage(made.blob), diffID: made.diffID, origins: [], created: try created(layer.id))
    }

    private func isKept(_ blob: Descriptor) -> Bool {
        !isForced || LayerCompression.algorithm(ofMediaType: blob.mediaType) == compression.algorithm
    }

    private func archive(_ layer: Digest) throws -> LayerBlobIndex.Packed {
        let writer = try content.ingest()
        defer { writer.abort() }
        var compressor = try StreamCompressor(compression)
        let diffID = try snapshots.exportTar(layer) { bytes in
            try compressor.write(bytes) { try writer.write($0) }
        }
        try compressor.finish { try writer.write($0) }
        let size = writer.written
        let digest = try writer.commit()
        return LayerBlobIndex.Packed(
            diffID: diffID, blob: Descriptor(mediaType: compression.mediaType(oci: true), digest: digest, size: size))
    }

    /// The blob without what is only known here, typed as the other parts of the image.
    private func withTypeOfImage(_ blob: Descriptor) -> Descriptor {
        let type: String
        switch LayerCompression.algorithm(ofMediaType: blob.mediaType) {
        case nil: type = blob.mediaType
        case let algorithm?: type = LayerCompression(algorithm).mediaType(oci: usesOCITypes)
        }
        return Descriptor(mediaType: type, digest: blob.digest, size: blob.size)
    }

    /// When the layer was made: the time of its newest entry.
    ///
    /// It follows from the layer's name, so that every node writes the same config; the time of the build would not.
    private func created(_ layer: Digest) throws -> String {
        var newest = FileTime()
        for entry in try snapshots.manifest(of: layer).entries where !entry.isWhiteout && entry.modified > newest {
            newest = entry.modified
        }
        return Timestamp.text(seconds: newest.seconds, nanoseconds: newest.nanoseconds)
    }
}
