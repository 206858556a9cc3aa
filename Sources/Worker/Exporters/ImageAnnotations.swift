internal import OCI

/// The annotations that a build asked for, by where they go.
///
/// Keys are `annotation[-TYPE][[PLATFORM]].KEY` in exporter attributes and result metadata, with TYPE one of
/// `manifest` (the default), `index`, `manifest-descriptor`, `index-descriptor`.
struct ImageAnnotations: Sendable {
    enum Place: String, Sendable {
        case manifest
        case index
        case manifestDescriptor = "manifest-descriptor"
        case indexDescriptor = "index-descriptor"
    }

    private struct Entry: Sendable {
        var place: Place
        var platform: String?
        var key: String
        var value: String
    }

    private var entries: [Entry] = []

    /// Later sources win: metadata of the frontend, then attributes of the client.
    init(_ input: ExportInput) throws(ExportError) {
        for (name, value) in input.metadata.sorted(by: { $0.key < $1.key }) where name.hasPrefix("annotation") {
            try add(name, String(decoding: value, as: UTF8.self))
        }
        for (name, value) in input.attributes.sorted(by: { $0.key < $1.key }) where name.hasPrefix("annotation") {
            try add(name, value)
        }
    }

    /// The annotations of one place; those for a platform win over those for all.
    func annotations(_ place: Place, for platform: Platform? = nil) -> [String: String] {
        var result: [String: String] = [:]
        for entry in entries where entry.place == place && entry.platform == nil { result[entry.key] = entry.value }
        guard let platform else { return result }
        for entry in entries where entry.place == place && entry.platform == platform.description {
            result[entry.key] = entry.value
        }
        return result
    }

    private mutating func add(_ name: String, _ value: String) throws(ExportError) {
        var head = name.dropFirst("annotation".count)
        guard let dot = Self.keyStart(head) else { return }
        let key = String(head[head.index(after: dot)...])
        head = head[..<dot]
        var platform: String?
        if let open = head.firstIndex(of: "["), head.last == "]" {
            let text = String(head[head.index(after: open)...].dropLast())
            guard let parsed = Platform(text) else { throw .attribute(name, value, "\"\(text)\" is no platform") }
            platform = parsed.description
            head = head[..<open]
        }
        let kind = head.isEmpty ? "manifest" : String(head.dropFirst())
        guard head.isEmpty || head.first == "-", let place = Place(rawValue: kind) else {
            guard head.first == "-" else { return }
            throw .attribute(
                name, value, "annotations go to manifest, index, manifest-descriptor or index-descriptor")
        }
        entries.append(Entry(place: place, platform: platform, key: key, value: value))
    }

    /// The dot after the head; dots inside the brackets of a platform don't count.
    private static func keyStart(_ text: Substring) -> Substring.Index? {
        guard let dot = text.firstIndex(of: "."), let open = text.firstIndex(of: "["), open < dot,
            let close = text.firstIndex(of: "]")
        else { return text.firstIndex(of: ".") }
        return text[close...].firstIndex(of: ".")
    }
}
