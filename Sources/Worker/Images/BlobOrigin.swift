package import OCI

/// The registry repository that a layer's blob came from, kept as an annotation of its descriptor.
///
/// A push to the same registry mounts the blob from there, and a node that has the layer but not the blob fetches it
/// from there. The annotation's name is containerd's label; it never goes into a manifest.
package struct BlobOrigin: Sendable, Hashable {
    package static let annotationPrefix = "containerd.io/distribution.source."

    package var host: String
    package var repository: String

    /// All origins that a descriptor names, sorted by host.
    package static func all(of descriptor: Descriptor) -> [BlobOrigin] {
        (descriptor.annotations ?? [:]).sorted { $0.key < $1.key }.compactMap { name, repository in
            name.hasPrefix(annotationPrefix)
                ? BlobOrigin(host: String(name.dropFirst(annotationPrefix.count)), repository: repository) : nil
        }
    }
}
