/// Why bytes or entries are no canonical layer manifest.
package enum ManifestError: Error, Hashable, CustomStringConvertible {
    case unknownFormat
    case truncated(atByte: Int)
    case trailingBytes(Int)
    case notCanonical(String, atByte: Int)
    case limit(String, value: UInt64, maximum: UInt64)
    case entry(path: String, String)

    package var description: String {
        switch self {
        case .unknownFormat: "these bytes are no layer manifest of version \(LayerManifest.formatVersion)"
        case .truncated(let offset): "the layer manifest ends too early, at byte \(offset)"
        case .trailingBytes(let count): "\(count) bytes follow the layer manifest"
        case .notCanonical(let what, let offset): "the layer manifest is not canonical at byte \(offset): \(what)"
        case .limit(let what, let value, let maximum): "the layer has \(what) \(value), more than the limit \(maximum)"
        case .entry(let path, let why): "layer entry \(path): \(why)"
        }
    }
}
