/// The `# name=value` lines that may precede everything else in a Dockerfile.
struct ParserDirectives: Hashable, Sendable {
    /// The character that continues lines and escapes characters: `\` or `` ` ``.
    var escape: Unicode.Scalar = "\\"
    /// The `syntax` image, if one is named.
    var syntax: String?
    /// What `check` says, to be read by the linter.
    var check: String?
    private(set) var lines: [String: Int] = [:]

    /// Reads the directives at the top of `text`; the first line that is none ends them.
    init(_ text: [Substring]) throws(DockerfileError) {
        var seen: Set<String> = []
        for (index, line) in text.enumerated() {
            let trimmed = line.trimmed
            // A shebang, so that a Dockerfile can be executable.
            if index == 0, trimmed.hasPrefix("#!") { continue }
            guard let (name, value) = Self.directive(trimmed) else { return }
            let here = [LineRange(index + 1, index + 1)]
            guard ["escape", "syntax", "check"].contains(name) else { return }
            guard seen.insert(name).inserted else {
                throw .syntax("only one \(name) parser directive can be used", line: index + 1, lines: here)
            }
            lines[name] = index + 1
            switch name {
            case "syntax": syntax = value
            case "check": check = value
            default:
                guard value == "\\" || value == "`", let scalar = value.unicodeScalars.first else {
                    throw .syntax(
                        "invalid escape token '\(value)' does not match ` or \\", line: index + 1, lines: here)
                }
                escape = scalar
            }
        }
    }

    private static func directive(_ line: Substring) -> (String, String)? {
        guard line.hasPrefix("#"), let equals = line.firstIndex(of: "=") else { return nil }
        let name = line[line.index(after: line.startIndex)..<equals].trimmed
        let isName = name.first.map { $0.isASCII && $0.isLetter } ?? false
        guard isName, name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber) }) else { return nil }
        let value = line[line.index(after: equals)...].trimmed
        guard !value.isEmpty else { return nil }
        return (name.lowercased(), String(value))
    }
}

extension StringProtocol where SubSequence == Substring {
    /// Without blanks at both ends.
    var trimmed: Substring {
        var rest = self[...]
        while let first = rest.first, first.isWhitespace { rest.removeFirst() }
        while let last = rest.last, last.isWhitespace { rest.removeLast() }
        return rest
    }
}
