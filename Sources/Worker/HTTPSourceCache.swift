internal import Foundation
internal import OCI

/// Validators of past downloads, one file an address; losing any costs only a download.
struct HTTPCache: Sendable {
    /// What a server said about a download.
    struct Entry: Sendable, Hashable, Codable {
        var digest: Digest
        var etag: String?
        var lastModified: String?
        var disposition: String?

        func file(url: String, attributes: HTTPAttributes) -> HTTPFile {
            HTTPFile(
                digest: digest,
                filename: HTTPFile.name(attribute: attributes.filename, disposition: disposition, url: url),
                mode: attributes.mode, uid: attributes.uid, gid: attributes.gid,
                modified: lastModified.flatMap(HTTPDate.seconds) ?? 0)
        }
    }

    private let directory: String

    init(directory: String) throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        self.directory = directory
    }

    /// Entries differ by address and by the headers that were sent, since a server may answer by them.
    func entry(for url: String, attributes: HTTPAttributes) -> Entry? {
        guard let data = FileManager.default.contents(atPath: path(url, attributes)) else { return nil }
        return try? JSONDecoder().decode(Entry.self, from: data)
    }

    func store(_ entry: Entry, for url: String, attributes: HTTPAttributes) throws {
        let file = URL(fileURLWithPath: path(url, attributes))
        try JSONEncoder().encode(entry).write(to: file, options: .atomic)
    }

    private func path(_ url: String, _ attributes: HTTPAttributes) -> String {
        let headers = attributes.headers.sorted { $0.key < $1.key }.map { "\n\($0.key): \($0.value)" }.joined()
        return directory + "/" + Digest.of((url + headers).utf8).hex
    }
}

/// Times of HTTP headers (RFC 9110 §5.6.7, the IMF-fixdate form only).
enum HTTPDate {
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`; nil for other forms.
    static func seconds(_ text: String) -> Int64? {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT", let day = Int64(parts[1]), let year = Int64(parts[3]),
            let month = months.firstIndex(of: String(parts[2])).map({ Int64($0) + 1 }), (1...31).contains(day),
            (1970...9999).contains(year)
        else { return nil }
        let clock = parts[4].split(separator: ":").compactMap { Int64($0) }
        guard clock.count == 3, clock.allSatisfy({ (0...60).contains($0) }) else { return nil }
        return days(year: year, month: month, day: day) * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
    }

    /// Days since 1970-01-01 of a Gregorian date, years counted from March.
    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let shiftedMonth = (month + 9) % 12
        let dayOfYear = (153 * shiftedMonth + 2) / 5 + day - 1
        return shiftedYear * 365 + shiftedYear / 4 - shiftedYear / 100 + shiftedYear / 400 + dayOfYear - 719_468
    }
}
