package import BuildSession
internal import ContentStore
internal import OCI

extension ImageExporter {
    private static let pieceBytes = 1 << 20

    /// Writes the image as a tar archive in OCI layout; for `.docker` with the `manifest.json` that `docker load` reads.
    package func exportArchive(
        _ image: AssembledImage, kind: Kind, to sink: any ByteSink
    ) async throws {
        try await requireAll(image)
        progress("sending tarball", "", 0, 0, false)
        try await Self.directory("blobs/", to: sink)
        try await Self.directory("blobs/sha256/", to: sink)
        for blob in image.blobs.map(\.descriptor).sorted(by: { $0.digest < $1.digest }) {
            try await send(blob, to: sink)
        }
        try await Self.file("index.json", image.layoutIndex.compact, to: sink)
        if kind == .docker { try await Self.file("manifest.json", Self.dockerManifest(image).compact, to: sink) }
        try await Self.file("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8), to: sink)
        try await sink.write(TarHeader.end)
        progress("sending tarball", "", 0, 0, true)
    }

    /// Writes all blobs into the client's content store (`tar=false`, store `export`); the client makes the layout of
    /// the response's descriptor.
    package func exportContent(_ image: AssembledImage, to store: any SessionContentStore) async throws {
        try await requireAll(image)
        for (blob, kind) in image.blobs {
            let reader = try content.reader(of: blob.digest)
            let name = (kind == "index" ? "manifest" : kind) + "-" + blob.digest.description
            try await store.write(blob.digest, size: blob.size, name: name) { sink in
                var offset: Int64 = 0
                while offset < reader.size {
                    let piece = try reader.bytes(at: offset, count: Self.pieceBytes)
                    try await sink.write(piece)
                    offset += Int64(piece.count)
                }
            }
        }
    }

    /// Fetches base layers' blobs that are not here, before the first byte goes to the client.
    private func requireAll(_ image: AssembledImage) async throws {
        let origins = image.parts.reduce(into: [Digest: [BlobOrigin]]()) { all, part in
            all.merge(part.origins) { first, _ in first }
        }
        _ = try await ImageLoader.parallel(image.blobs.map(\.descriptor)) { blob in
            try await require(blob, origins: origins[blob.digest] ?? [])
        }
    }

    private func send(_ blob: Descriptor, to sink: any ByteSink) async throws {
        let reader = try content.reader(of: blob.digest)
        var header = TarHeader(path: Array("blobs/sha256/\(blob.digest.hex)".utf8), kind: .file, mode: 0o444)
        header.size = reader.size
        try await sink.write(header.encoded)
        var offset: Int64 = 0
        while offset < reader.size {
            let piece = try reader.bytes(at: offset, count: Self.pieceBytes)
            try await sink.write(piece)
            offset += Int64(piece.count)
        }
        let padding = TarHeader.padding(for: reader.size)
        if !padding.isEmpty { try await sink.write(padding) }
    }

    private static func directory(_ path: String, to sink: any ByteSink) async throws {
        try await sink.write(TarHeader(path: Array(path.utf8), kind: .directory, mode: 0o755).encoded)
    }

    private static func file(_ path: String, _ bytes: [UInt8], to sink: any ByteSink) async throws {
        var header = TarHeader(path: Array(path.utf8), kind: .file, mode: 0o444)
        header.size = Int64(bytes.count)
        try await sink.write(header.encoded + bytes + TarHeader.padding(for: header.size))
    }

    private static func dockerManifest(_ image: AssembledImage) -> JSONValue {
        .array(
            image.parts.map { part in
                .object([
                    JSONValue.Member("Config", .string("blobs/sha256/" + part.config.digest.hex)),
                    JSONValue.Member(
                        "RepoTags",
                        image.names.isEmpty
                            ? .raw(Array("null".utf8)) : .array(image.names.map { .string($0.familiar) })),
                    JSONValue.Member("Layers", .array(part.layers.map { .string("blobs/sha256/" + $0.digest.hex) })),
                ])
            })
    }
}
