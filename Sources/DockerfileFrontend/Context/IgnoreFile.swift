/// Reads `.dockerignore` into exclude patterns.
enum IgnoreFile {
    /// One pattern a line; `#` in the first column starts a comment; `!` takes back.
    ///
    /// Patterns come out clean and relative. Throws for a file that is too long.
    static func patterns(_ bytes: [UInt8]) throws(DockerfileError) -> [String] {
        guard bytes.count <= DockerfileLimits.ignoreFileBytesMax else {
            throw DockerfileError(
                .limitExceeded,
                "the ignore file has \(bytes.count) bytes, at most \(DockerfileLimits.ignoreFileBytesMax) are allowed")
        }
        let hasMark = bytes.starts(with: [0xEF, 0xBB, 0xBF])
        let text = String(decoding: hasMark ? bytes[3...] : bytes[...], as: UTF8.self)
        var result: [String] = []
        for line in text.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
            var pattern = line.trimmed
            guard !pattern.isEmpty else { continue }
            let isNegated = pattern.hasPrefix("!")
            if isNegated { pattern = pattern.dropFirst().trimmed }
            var cleaned = pattern.isEmpty ? "" : SlashPath.clean(String(pattern))
            if cleaned.count > 1, cleaned.hasPrefix("/") { cleaned.removeFirst() }
            result.append((isNegated ? "!" : "") + cleaned)
        }
        return result
    }
}

/// Paths with `/`, as Go's `path` package treats them.
enum SlashPath {
    /// Shortest equal path: no `.`, no empty parts, `..` taken as far as it goes.
    static func clean(_ path: String) -> String {
        let isAbsolute = path.hasPrefix("/")
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == "..", let last = parts.last, last != ".." {
                parts.removeLast()
            } else if part != ".." || !isAbsolute {
                parts.append(part)
            }
        }
        let joined = parts.joined(separator: "/")
        return isAbsolute ? "/" + joined : joined.isEmpty ? "." : joined
    }

    /// `path` below `directory`, unless it is absolute; clean.
    static func resolve(_ path: String, in directory: String) -> String {
        clean(path.hasPrefix("/") ? path : directory + "/" + path)
    }

    /// `path` taken from the root, whether it begins with `/` or not.
    static func rooted(_ path: String) -> String { clean("/" + path) }

    /// The last part; `/` for the root, `.` for nothing.
    static func base(_ path: String) -> String {
        guard let last = path.split(separator: "/").last else { return path.isEmpty ? "." : "/" }
        return String(last)
    }
}
