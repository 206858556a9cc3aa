internal import OCI

/// How the layers of an exported image are packed (exporter attributes `compression` and `compression-level`).
package struct LayerCompression: Sendable, Hashable {
    package enum Algorithm: String, Sendable, Hashable {
        case uncompressed
        case gzip
        case zstd
    }

    package var algorithm: Algorithm
    /// 1...9 for gzip, 1...22 for zstd; ignored for uncompressed.
    package var level: Int

    /// Level that Docker and BuildKit use for gzip.
    private static let gzipLevel = 6
    private static let zstdLevel = 3

    package init(_ algorithm: Algorithm, level: Int? = nil) {
        self.algorithm = algorithm
        switch algorithm {
        case .uncompressed: self.level = 0
        case .gzip: self.level = level ?? Self.gzipLevel
        case .zstd: self.level = level ?? Self.zstdLevel
        }
    }

    /// Reads the exporter attributes; gzip unless they say otherwise.
    package init(attributes: [String: String]) throws(ExportError) {
        let name = attributes["compression"] ?? "gzip"
        guard let algorithm = Algorithm(rawValue: name) else {
            throw .attribute("compression", name, "use uncompressed, gzip or zstd")
        }
        guard let text = attributes["compression-level"] else {
            self.init(algorithm)
            return
        }
        let range = algorithm == .zstd ? 1...22 : 1...9
        guard let level = Int(text), range.contains(level) else {
            throw .attribute(
                "compression-level", text, "use a number from \(range.lowerBound) to \(range.upperBound)")
        }
        self.init(algorithm, level: level)
    }

    /// The media type of a layer packed so.
    package func mediaType(oci: Bool) -> String {
        switch algorithm {
        case .uncompressed: oci ? MediaType.ociLayer : MediaType.dockerLayer
        case .gzip: oci ? MediaType.ociLayerGzip : MediaType.dockerLayerGzip
        case .zstd: MediaType.ociLayerZstd
        }
    }

    /// What the media type of a layer says about its packing; nil for types that are no layers.
    package static func algorithm(ofMediaType type: String) -> Algorithm? {
        switch type {
        case MediaType.ociLayer, MediaType.dockerLayer: .uncompressed
        case MediaType.ociLayerGzip, MediaType.dockerLayerGzip, MediaType.dockerForeignLayerGzip,
            MediaType.ociNondistributableLayerGzip:
            .gzip
        case MediaType.ociLayerZstd: .zstd
        default: nil
        }
    }
}
