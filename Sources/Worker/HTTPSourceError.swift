package import OCI

/// Why a file of the web could not be had.
package enum HTTPSourceError: Error, Sendable, CustomStringConvertible {
    case status(String, Int, String)
    case unreachable(String, String)
    case checksum(String, wanted: Digest, actual: Digest)
    /// An attribute of the source makes no sense: its name, value and what to write.
    case attribute(String, String, String)

    package var description: String {
        switch self {
        case .status(let url, let code, let phrase):
            "failed to load \(url): the server answered \(code) \(phrase)"
                + (code == 401 || code == 403 ? "; give a secret HTTP_AUTH_HEADER_HOST for this host" : "")
        case .unreachable(let url, let why):
            "failed to load \(url): \(why); check the address and the network of the node"
        case .checksum(let url, let wanted, let actual):
            "digest mismatch for \(url): the build demands \(wanted), the server sent \(actual)"
        case .attribute(let name, let value, let remedy): "invalid source attribute \(name)=\(value): \(remedy)"
        }
    }
}
