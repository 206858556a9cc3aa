/// Why a Dockerfile can't be built, with the lines that are to blame.
///
/// The text is what BuildKit's users know; `code` is what a program may act on.
package struct DockerfileError: Error, Hashable, CustomStringConvertible {
    package enum Code: Hashable, Sendable {
        /// The text is no Dockerfile.
        case syntax
        /// An instruction is well formed but can't be done as written.
        case invalidInstruction
        case stageNotFound
        case invalidAttribute
        case fileNotFound
        case limitExceeded
        case imageNotResolved
        /// A lint rule was violated and the file asks for that to be an error.
        case lint
        /// The caller asked for something that this frontend does not have.
        case unsupportedSubrequest(String)
        case unsupportedCapability(String)
        case unsupportedFrontend
    }

    package var code: Code
    package var message: String
    /// Lines of the Dockerfile, 1-based; empty when no line is to blame.
    package var lines: [LineRange]
    /// The file, for clients that show an excerpt; filled in at the frontend's edge.
    package var source: DockerfileSource?

    package init(_ code: Code, _ message: String, lines: [LineRange] = []) {
        self.code = code
        self.message = message
        self.lines = lines
    }

    package var description: String { message }

    /// The same error with `lines` unless it already names some.
    func located(at lines: [LineRange]) -> DockerfileError {
        var copy = self
        if copy.lines.isEmpty { copy.lines = lines }
        return copy
    }

    static func syntax(_ message: String, line: Int, lines: [LineRange]) -> DockerfileError {
        DockerfileError(.syntax, "dockerfile parse error on line \(line): \(message)", lines: lines)
    }
}

/// Lines of a file, 1-based, both ends included.
package struct LineRange: Hashable, Sendable {
    package var start: Int
    package var end: Int

    package init(_ start: Int, _ end: Int) {
        self.start = start
        self.end = end
    }
}
