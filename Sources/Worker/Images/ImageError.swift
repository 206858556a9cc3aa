package import OCI

/// Why an image can't be used, by its name.
package enum ImageError: Error, Sendable, CustomStringConvertible {
    /// The reference could not be turned into a digest and a config: the reference and the cause.
    case unresolved(String, String)
    /// A manifest, index or config is malformed: the image, the blob and why.
    case malformed(String, Digest, String)
    /// The image has no manifest for the platform.
    case noPlatform(String, Platform, offered: [Platform])
    /// The image is not the one that the build demands (`image.checksum`).
    case checksum(String, wanted: Digest, actual: Digest)
    /// An attribute of the source makes no sense: its name, value and what to write.
    case attribute(String, String, String)
    /// The image could not be had from the source that the build names.
    case missing(String, Digest)

    package var description: String {
        switch self {
        case .unresolved(let image, let why):
            "failed to resolve source metadata for \(image): \(why)"
        case .malformed(let image, let digest, let why): "\(image): \(digest) is no usable image: \(why)"
        case .noPlatform(let image, let platform, let offered):
            "\(image): no match for platform \(platform) in manifest: not found; the image is made for "
                + (offered.isEmpty ? "no platform" : offered.map(\.description).joined(separator: ", "))
        case .checksum(let image, let wanted, let actual):
            "\(image): digest mismatch: the build demands \(wanted), the image is \(actual)"
        case .attribute(let name, let value, let remedy): "invalid source attribute \(name)=\(value): \(remedy)"
        case .missing(let image, let digest): "\(image): blob \(digest) not found"
        }
    }
}
