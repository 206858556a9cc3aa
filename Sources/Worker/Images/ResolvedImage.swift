package import OCI

/// What an image reference is now.
package struct ResolvedImage: Sendable, Hashable {
    /// Digest of what the reference names: an index, or a manifest.
    package var digest: Digest
    /// Digest of the manifest for the platform; equal to `digest` when there is no index.
    package var platformManifestDigest: Digest
    package var mediaType: String
    /// The image config JSON, byte for byte.
    package var config: [UInt8]
    /// Why this may not be what the registry would say now; nil when the registry said it, or the name is a digest.
    package var warning: String?

    package init(digest: Digest, platformManifestDigest: Digest, mediaType: String, config: [UInt8]) {
        self.digest = digest
        self.platformManifestDigest = platformManifestDigest
        self.mediaType = mediaType
        self.config = config
    }
}

/// The attribute `image.resolvemode`: whether what is known locally may answer.
package enum ImageResolveMode: String, Sendable, Hashable {
    /// Ask the registry for tags; use what is here for digests.
    case standard = "default"
    /// Always ask the registry.
    case pull
    /// Prefer what was resolved here before.
    case local

    /// Reads the attribute; nil and unknown values are the default.
    package init(attribute: String?) { self = attribute.flatMap { Self(rawValue: $0) } ?? .standard }
}

/// Attributes of an image source that change what it gives.
package struct ImageAttributes: Sendable, Hashable {
    /// Keep only the first layers; nil keeps all.
    package var layerLimit: Int?
    /// The digest that the image has to have.
    package var checksum: Digest?

    package init(layerLimit: Int? = nil, checksum: Digest? = nil) {
        self.layerLimit = layerLimit
        self.checksum = checksum
    }

    /// Reads `image.layerlimit` or `oci.layerlimit`, and `image.checksum`.
    package init(attributes: [String: String]) throws(ImageError) {
        for name in ["image.layerlimit", "oci.layerlimit"] {
            guard let text = attributes[name] else { continue }
            guard let limit = Int(text), limit >= 0 else {
                throw .attribute(name, text, "use the number of layers to keep")
            }
            layerLimit = limit
        }
        if let text = attributes["image.checksum"] {
            guard let digest = Digest(text) else {
                throw .attribute("image.checksum", text, "use sha256: and 64 hex digits")
            }
            checksum = digest
        }
    }
}
