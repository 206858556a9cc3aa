/// An image manifest: config and layers, lowest first (OCI image-spec, "Image Manifest").
package struct ImageManifest: Hashable, Sendable, Codable {
    package var schemaVersion: Int
    package var mediaType: String?
    package var config: Descriptor
    package var layers: [Descriptor]
    package var annotations: [String: String]?

    package init(
        mediaType: String = MediaType.ociManifest, config: Descriptor, layers: [Descriptor],
        annotations: [String: String]? = nil
    ) {
        schemaVersion = 2
        self.mediaType = mediaType
        self.config = config
        self.layers = layers
        self.annotations = annotations
    }
}

/// An image index, or manifest list: one manifest a platform (OCI image-spec, "Image Index").
package struct ImageIndex: Hashable, Sendable, Codable {
    package var schemaVersion: Int
    package var mediaType: String?
    package var manifests: [Descriptor]
    package var annotations: [String: String]?

    package init(
        mediaType: String = MediaType.ociIndex, manifests: [Descriptor], annotations: [String: String]? = nil
    ) {
        schemaVersion = 2
        self.mediaType = mediaType
        self.manifests = manifests
        self.annotations = annotations
    }
}
