/// Splits a Dockerfile into instructions: directives, comments, continuation lines, here-documents.
struct LineReader {
    /// What was read, with what the linter wants to know of the text itself.
    struct Result: Sendable {
        var directives: ParserDirectives
        var instructions: [RawInstruction]
        /// Instructions that have empty lines among their continuation lines.
        var emptyContinuations: [LineRange]
    }

    private let lines: [Substring]
    private let directives: ParserDirectives
    private var next = 0

    private init(lines: [Substring]) throws(DockerfileError) {
        self.lines = lines
        directives = try ParserDirectives(lines)
    }

    /// Reads a whole file.
    ///
    /// Throws for text that is no UTF-8, too long, or has no instruction.
    static func read(_ bytes: [UInt8]) throws(DockerfileError) -> Result {
        guard bytes.count <= DockerfileLimits.dockerfileBytesMax else {
            throw DockerfileError(
                .limitExceeded,
                "the Dockerfile has \(bytes.count) bytes, at most \(DockerfileLimits.dockerfileBytesMax) are allowed")
        }
        let hasMark = bytes.starts(with: [0xEF, 0xBB, 0xBF])
        let text = String(decoding: hasMark ? bytes[3...] : bytes[...], as: UTF8.self)
        var lines: [Substring] = []
        var start = text.startIndex
        let view = text.utf8
        while let end = view[start...].firstIndex(of: UInt8(ascii: "\n")) {
            lines.append(text[start...end])
            start = view.index(after: end)
        }
        if start < text.endIndex { lines.append(text[start...]) }
        var reader = try LineReader(lines: lines)
        return try reader.readAll()
    }

    private mutating func readAll() throws(DockerfileError) -> Result {
        var result = Result(directives: directives, instructions: [], emptyContinuations: [])
        var comments: [String] = []
        while let line = pop() {
            let start = next
            let stripped = line.drop(while: \.isWhitespace)
            if stripped.hasPrefix("#") {
                comments.append(String(stripped.dropFirst().trimmed))
                continue
            }
            guard !stripped.isEmpty else {
                comments = []
                continue
            }
            var (joined, continues) = Self.withoutContinuation(Self.withoutLineEnd(stripped), directives.escape)
            var hasEmptyLine = false
            while continues, let more = pop() {
                let visible = more.drop(while: \.isWhitespace)
                if visible.hasPrefix("#") { continue }
                guard !visible.isEmpty else {
                    hasEmptyLine = true
                    continue
                }
                let piece = Self.withoutContinuation(Self.withoutLineEnd(more), directives.escape)
                joined += piece.text
                continues = piece.continues
            }
            guard !joined.trimmed.isEmpty else { continue }
            let range = LineRange(start, next)
            if hasEmptyLine { result.emptyContinuations.append(range) }
            result.instructions.append(try instruction(joined, range, comments))
            comments = []
            guard result.instructions.count <= DockerfileLimits.instructionsMax else {
                throw DockerfileError(
                    .limitExceeded,
                    "the Dockerfile has more than \(DockerfileLimits.instructionsMax) instructions", lines: [range])
            }
        }
        guard !result.instructions.isEmpty else { throw DockerfileError(.syntax, "file with no instructions") }
        return result
    }

    private mutating func instruction(
        _ line: String, _ range: LineRange, _ comments: [String]
    ) throws(DockerfileError) -> RawInstruction {
        var raw = try RawInstruction(line: line, lines: range, comments: comments, escape: directives.escape)
        guard raw.allowsHeredocs else { return raw }
        for var heredoc in Heredoc.all(in: line, escape: directives.escape) {
            var isTerminated = false
            while let content = pop() {
                var candidate = Self.withoutLineEnd(content)[...]
                if heredoc.stripsTabs { candidate = candidate.drop { $0 == "\t" } }
                if candidate == heredoc.name {
                    isTerminated = true
                    break
                }
                heredoc.content += content
            }
            guard isTerminated else {
                throw DockerfileError(.syntax, "unterminated heredoc", lines: [LineRange(range.start, next)])
            }
            raw.heredocs.append(heredoc)
        }
        raw.lines.end = next
        return raw
    }

    /// The next line; `next` is then its 1-based number.
    private mutating func pop() -> Substring? {
        guard next < lines.count else { return nil }
        next += 1
        return lines[next - 1]
    }

    private static func withoutLineEnd(_ line: Substring) -> String {
        var bytes = line.utf8[...]
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        return String(Substring(bytes))
    }

    /// Cuts an escape character at the end of the line, blanks after it allowed; a doubled one is no continuation.
    private static func withoutContinuation(_ line: String, _ escape: Unicode.Scalar) -> (text: String, continues: Bool)
    {
        var scalars = line.unicodeScalars[...]
        while let last = scalars.last, last == " " || last == "\t" { scalars.removeLast() }
        guard scalars.last == escape else { return (line, false) }
        scalars.removeLast()
        if scalars.last == escape { return (line, false) }
        return (String(scalars), true)
    }
}
