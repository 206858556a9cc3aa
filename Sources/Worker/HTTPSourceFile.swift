internal import Foundation
package import OCI

/// Attributes of an http source, as a definition gives them.
package struct HTTPAttributes: Sendable, Hashable {
    package var checksum: Digest?
    package var filename: String?
    /// Permission bits of the file.
    package var mode: UInt32
    package var uid: UInt32
    package var gid: UInt32
    /// Name of the secret that holds the `Authorization` header.
    package var authHeaderSecret: String?
    package var headers: [String: String]

    /// Permission bits of a downloaded file, unless `http.perm` says otherwise.
    private static let defaultMode: UInt32 = 0o600

    /// Reads `http.*` attributes.
    package init(attributes: [String: String]) throws(HTTPSourceError) {
        if let text = attributes["http.checksum"] {
            guard let digest = Digest(text) else {
                throw .attribute("http.checksum", text, "use sha256: and 64 hex digits")
            }
            checksum = digest
        }
        filename = attributes["http.filename"]
        mode = Self.defaultMode
        if let text = attributes["http.perm"] {
            guard let bits = UInt32(text, radix: 8), bits <= 0o7777 else {
                throw .attribute("http.perm", text, "use octal permission bits such as 0644")
            }
            mode = bits
        }
        uid = try Self.number("http.uid", in: attributes)
        gid = try Self.number("http.gid", in: attributes)
        authHeaderSecret = attributes["http.authheadersecret"]
        let prefix = "http.header."
        headers = [:]
        for (name, value) in attributes where name.hasPrefix(prefix) {
            headers[String(name.dropFirst(prefix.count))] = value
        }
    }

    private static func number(
        _ name: String, in attributes: [String: String]
    ) throws(HTTPSourceError) -> UInt32 {
        guard let text = attributes[name] else { return 0 }
        guard let number = UInt32(text) else { throw .attribute(name, text, "use a number of 0 or more") }
        return number
    }
}

/// A downloaded file: its bytes in the content store, and how it lies in the tree.
package struct HTTPFile: Sendable, Hashable {
    package var digest: Digest
    package var filename: String
    package var mode: UInt32
    package var uid: UInt32
    package var gid: UInt32
    /// Seconds since 1970: the server's `Last-Modified`, or 0, so that every node makes the same tree.
    package var modified: Int64

    package init(digest: Digest, filename: String, mode: UInt32, uid: UInt32 = 0, gid: UInt32 = 0, modified: Int64 = 0)
    {
        self.digest = digest
        self.filename = filename
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.modified = modified
    }

    /// The file's name: the attribute, else Content-Disposition, else the last element of the path, else `download`.
    ///
    /// Only the last path element of each counts, and none that is empty, `.` or `..`.
    package static func name(attribute: String?, disposition: String?, url: String) -> String {
        let fromDisposition = disposition.flatMap(filename(ofDisposition:))
        let path = URLComponents(string: url)?.path
        return [attribute, fromDisposition, path].compactMap { $0.flatMap(sanitized) }.first ?? "download"
    }

    private static func sanitized(_ name: String) -> String? {
        let last = name.split(separator: "/").last.map(String.init) ?? ""
        guard !last.isEmpty, last != ".", last != "..", !last.utf8.contains(0), last.utf8.count <= 255 else {
            return nil
        }
        return last
    }

    /// The parameter `filename` of a Content-Disposition header (RFC 6266).
    private static func filename(ofDisposition header: String) -> String? {
        for part in header.split(separator: ";").dropFirst() {
            let pair = part.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            guard pair.count == 2, pair[0].lowercased() == "filename" else { continue }
            let value = pair[1]
            return value.count >= 2 && value.hasPrefix("\"") && value.hasSuffix("\"")
                ? String(value.dropFirst().dropLast()).replacing("\\\"", with: "\"") : value
        }
        return nil
    }
}
