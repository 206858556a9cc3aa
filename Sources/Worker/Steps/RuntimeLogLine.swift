internal import FoundationEssentials

/// A line that an OCI runtime writes with `--log-format json`.
struct RuntimeLogLine: Decodable {
    let msg: String

    /// The line's message; the line itself if it is no JSON.
    static func message(_ line: Substring) -> String {
        (try? JSONDecoder().decode(RuntimeLogLine.self, from: Data(line.utf8)))?.msg ?? String(line)
    }
}
