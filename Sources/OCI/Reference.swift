/// The name of an image in a registry, in its full form (distribution/reference grammar).
///
/// `alpine` is `docker.io/library/alpine:latest`; a part before the first `/` is a host when it has a `.`, a `:` or
/// is `localhost`.
package struct Reference: Hashable, Sendable {
    /// Longest allowed repository name (distribution-spec, "Pulling manifests").
    package static let nameBytesMax = 255

    /// Registry host with optional port, such as `docker.io`.
    package var host: String
    /// Path below the host, such as `library/alpine`.
    package var repository: String
    package var tag: String?
    package var digest: Digest?

    package init(host: String, repository: String, tag: String? = nil, digest: Digest? = nil) {
        self.host = host
        self.repository = repository
        self.tag = tag
        self.digest = digest
    }

    /// Parses a familiar or full name.
    ///
    /// Without tag and digest the tag is `latest`.
    package init(parsing text: String) throws(ReferenceError) {
        var rest = Substring(text)
        if let at = rest.lastIndex(of: "@") {
            guard let parsed = Digest(String(rest[rest.index(after: at)...])) else {
                throw .invalid(text, "the part after @ is no sha256 digest")
            }
            digest = parsed
            rest = rest[..<at]
        }
        let lastSlash = rest.lastIndex(of: "/") ?? rest.startIndex
        if let colon = rest[lastSlash...].lastIndex(of: ":"), Self.hasTag(rest, colon: colon) {
            let tagText = String(rest[rest.index(after: colon)...])
            guard Self.isTag(tagText) else { throw .invalid(text, "\"\(tagText)\" is no tag") }
            tag = tagText
            rest = rest[..<colon]
        }
        let first = rest.firstIndex(of: "/").map { rest[..<$0] }
        if let first,
            first.contains(".") || first.contains(":") || first == "localhost" || first.contains(where: \.isUppercase)
        {
            host = String(first)
            repository = String(rest[rest.index(after: first.endIndex)...])
        } else {
            host = "docker.io"
            repository = first == nil ? "library/" + rest : String(rest)
        }
        if host == "index.docker.io" { host = "docker.io" }
        guard Self.isRepository(repository) else {
            throw .invalid(text, "repository names are lower-case letters, digits and . _ - / between them")
        }
        if tag == nil && digest == nil { tag = "latest" }
    }

    private static func hasTag(_ text: Substring, colon: Substring.Index) -> Bool {
        // `localhost:5000` alone has no path after the port; it is a name with a tag, as Docker reads it.
        !text[text.index(after: colon)...].contains("/")
    }

    private static func isTag(_ text: String) -> Bool {
        guard let first = text.utf8.first, text.utf8.count <= 128 else { return false }
        return (isWord(first))
            && text.utf8.allSatisfy { isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static func isRepository(_ text: String) -> Bool {
        guard text.utf8.count <= nameBytesMax else { return false }
        return text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
            guard let first = part.utf8.first, let last = part.utf8.last else { return false }
            let isAlphanumeric: (UInt8) -> Bool = {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
            }
            return isAlphanumeric(first) && isAlphanumeric(last)
                && part.utf8.allSatisfy { isAlphanumeric($0) || "._-".utf8.contains($0) }
        }
    }

    /// Host and repository without tag and digest.
    package var name: String { host + "/" + repository }

    /// The familiar form: without `docker.io/library/`, keeping tag and digest.
    package var familiar: String {
        var text = name
        if host == "docker.io" {
            text = repository.hasPrefix("library/") ? String(repository.dropFirst("library/".count)) : repository
        }
        return text + suffix
    }

    private var suffix: String {
        (tag.map { ":" + $0 } ?? "") + (digest.map { "@" + $0.description } ?? "")
    }
}

extension Reference: CustomStringConvertible {
    /// The full form, such as `docker.io/library/alpine:latest`.
    package var description: String { name + suffix }
}

/// Why a text is no image reference.
package enum ReferenceError: Error, Hashable, CustomStringConvertible {
    case invalid(String, String)

    package var description: String {
        switch self {
        case .invalid(let text, let why): "invalid reference format: \"\(text)\": \(why)"
        }
    }
}
