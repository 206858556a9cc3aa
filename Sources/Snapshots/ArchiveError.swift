package import OCI

/// Why a layer archive is refused.
package enum ArchiveError: Error, Hashable, CustomStringConvertible {
    case truncated(atByte: Int64)
    case malformedHeader(atByte: Int64, String)
    case entry(name: String, String)
    case compression(String)
    case tooLarge(maximum: Int64)
    case wrongDiffID(expected: Digest, actual: Digest)

    package var description: String {
        switch self {
        case .truncated(let offset): "the layer archive ends too early, at byte \(offset)"
        case .malformedHeader(let offset, let why): "the layer archive is malformed at byte \(offset): \(why)"
        case .entry(let name, let why): "the layer archive's entry \"\(name)\" is refused: \(why)"
        case .compression(let why): "the layer archive cannot be decompressed: \(why)"
        case .tooLarge(let maximum): "the layer archive has more than \(maximum) bytes when decompressed"
        case .wrongDiffID(let expected, let actual):
            "the layer archive has diff id \(actual), not \(expected) as the image's configuration says"
        }
    }
}
