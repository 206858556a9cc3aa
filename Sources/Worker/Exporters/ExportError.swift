package import OCI

/// Why a result could not be exported.
package enum ExportError: Error, Sendable, CustomStringConvertible {
    /// An attribute has a value that means nothing: its name, the value and what to write instead.
    case attribute(String, String, String)
    /// A request that this builder does not serve, and what to do instead.
    case unsupported(String)
    /// A blob that no node and no registry has any more.
    case missingBlob(Digest)
    /// The config that a frontend made is no image config.
    case config(String)
    /// zlib or zstd failed.
    case compression(String)
    /// A file of the result could not be read: its path and why.
    case file(String, String)
    /// A push failed: the name and the registry's error.
    case push(String, String)

    package var description: String {
        switch self {
        case .attribute(let name, let value, let remedy): "invalid exporter attribute \(name)=\(value): \(remedy)"
        case .unsupported(let what): what
        case .missingBlob(let digest):
            "blob \(digest) of a base image is neither here nor at a peer nor in the registry; build again with --pull"
        case .config(let why): "invalid image config: \(why)"
        case .compression(let why): "failed to compress a layer: \(why)"
        case .file(let path, let why): "failed to export \(path): \(why)"
        case .push(let name, let why): "failed to push \(name): \(why)"
        }
    }
}
