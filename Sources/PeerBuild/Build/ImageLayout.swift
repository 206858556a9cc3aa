internal import Foundation
internal import OCI

/// An image in an OCI layout directory, named `DIR`, `DIR:TAG` or `DIR@DIGEST`.
struct ImageLayout {
    let directory: String
    let tag: String
    let digest: Digest

    private struct Index: Decodable {
        struct Entry: Decodable {
            var digest: String
            var annotations: [String: String]?
        }
        var manifests: [Entry]
    }

    private static let nameKey = "org.opencontainers.image.ref.name"

    init(_ text: String) throws(BuildPlanError) {
        if let at = text.lastIndex(of: "@"), let digest = Digest(String(text[text.index(after: at)...])) {
            (directory, tag, self.digest) = (String(text[..<at]), "latest", digest)
            return
        }
        var path = text
        var wanted: String?
        if let colon = text.lastIndex(of: ":"), !text[colon...].contains("/") {
            path = String(text[..<colon])
            wanted = String(text[text.index(after: colon)...])
        }
        let file = path + "/index.json"
        guard let data = FileManager.default.contents(atPath: file),
            let index = try? JSONDecoder().decode(Index.self, from: data)
        else { throw BuildPlanError("\(path) is no OCI layout: \(file) can't be read") }
        let entry = index.manifests.first { wanted == nil || $0.annotations?[Self.nameKey] == wanted }
        guard let entry, let digest = Digest(entry.digest) else {
            throw BuildPlanError("OCI layout \(path) has no image\(wanted.map { " " + $0 } ?? "")")
        }
        (directory, tag, self.digest) = (path, wanted ?? "latest", digest)
    }
}
