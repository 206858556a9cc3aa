/// Expands `$name` and `${name…}` in a word and takes quotes and escapes away, as Docker does where it expands.
///
/// Source: Dockerfile reference, "Environment replacement".
struct WordExpander {
    /// How quotes, escapes and unknown names are treated.
    struct Options: Hashable, Sendable {
        var escape: Unicode.Scalar = "\\"
        /// Quotes stay in the result.
        var keepsQuotes = false
        /// Quotes have no meaning at all: the text of here-documents.
        var ignoresQuotes = false
        /// `$name` stays as written when there is no such name.
        var keepsUnknown = false
    }

    /// What a word became.
    struct Outcome: Hashable, Sendable {
        var text: String
        /// The text split at blanks that were outside quotes.
        var words: [String]
        /// Names that had no value, in order of appearance.
        var unknown: [String]
        /// Names that had one.
        var used: [String]
    }

    private let options: Options
    private let lookUp: (String) -> String?
    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var depth = 0
    private var outputBytes = 0
    private var steps = DockerfileLimits.patternStepsMax
    private var unknown: [String] = []
    private var used: [String] = []
    private var words: [String] = []
    private var word = String.UnicodeScalarView()
    private var isInWord = false

    private init(_ text: String, options: Options, lookUp: @escaping (String) -> String?) {
        scalars = Array(text.unicodeScalars)
        self.options = options
        self.lookUp = lookUp
    }

    /// Expands `text`; errors name the text.
    static func expand(
        _ text: String, options: Options, lookUp: @escaping (String) -> String?
    ) throws(DockerfileError) -> Outcome {
        var expander = WordExpander(text, options: options, lookUp: lookUp)
        do {
            let result = try expander.run(until: nil, collectsWords: true)
            expander.endWord()
            return Outcome(
                text: String(result), words: expander.words, unknown: expander.unknown, used: expander.used)
        } catch {
            throw DockerfileError(.invalidInstruction, "failed to process \(GoText.quoted(text)): \(error.message)")
        }
    }

    private var current: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private func fault(_ message: String) -> DockerfileError { DockerfileError(.invalidInstruction, message) }

    private mutating func endWord() {
        if isInWord { words.append(String(word)) }
        word = String.UnicodeScalarView()
        isInWord = false
    }

    private mutating func appendToWord(_ text: String.UnicodeScalarView, splits: Bool) {
        for scalar in text {
            if splits, scalar.properties.isWhitespace {
                endWord()
            } else {
                isInWord = true
                word.append(scalar)
            }
        }
    }

    private mutating func run(
        until stop: Unicode.Scalar?, collectsWords: Bool
    ) throws(DockerfileError) -> String.UnicodeScalarView {
        depth += 1
        defer { depth -= 1 }
        guard depth <= DockerfileLimits.expansionDepthMax else {
            throw fault("more than \(DockerfileLimits.expansionDepthMax) nested substitutions")
        }
        var result = String.UnicodeScalarView()
        while let scalar = current {
            if scalar == stop {
                position += 1
                return result
            }
            var piece = String.UnicodeScalarView()
            var splits = false
            var isQuoted = false
            switch scalar {
            case "'" where !options.ignoresQuotes:
                piece = try singleQuoted()
                isQuoted = true
            case "\"" where !options.ignoresQuotes:
                piece = try doubleQuoted()
                isQuoted = true
            case "$":
                piece = try dollar()
                // Values keep their blanks together in the words that result, as BuildKit's do not: EXPOSE "$PORTS".
                splits = true
            case options.escape:
                position += 1
                guard let next = current else {
                    if options.keepsQuotes || options.ignoresQuotes { piece.append(scalar) }
                    break
                }
                if options.keepsQuotes { piece.append(scalar) }
                if options.ignoresQuotes, next != "$", next != options.escape { piece.append(scalar) }
                piece.append(next)
                position += 1
            default:
                piece.append(scalar)
                position += 1
                splits = true
            }
            if collectsWords {
                if isQuoted { isInWord = true }
                appendToWord(piece, splits: splits)
            }
            result.append(contentsOf: piece)
            try charge(piece.count)
        }
        guard stop == nil else { throw fault("syntax error: missing '}'") }
        return result
    }

    private mutating func charge(_ count: Int) throws(DockerfileError) {
        outputBytes += count
        guard outputBytes <= DockerfileLimits.expansionBytesMax else {
            throw fault("the expansion is longer than \(DockerfileLimits.expansionBytesMax) characters")
        }
    }

    private mutating func singleQuoted() throws(DockerfileError) -> String.UnicodeScalarView {
        var result = String.UnicodeScalarView()
        if options.keepsQuotes { result.append("'") }
        position += 1
        while let scalar = current {
            position += 1
            if scalar == "'" {
                if options.keepsQuotes { result.append("'") }
                return result
            }
            result.append(scalar)
        }
        throw fault("unexpected end of statement while looking for matching single-quote")
    }

    private mutating func doubleQuoted() throws(DockerfileError) -> String.UnicodeScalarView {
        var result = String.UnicodeScalarView()
        if options.keepsQuotes { result.append("\"") }
        position += 1
        while let scalar = current {
            switch scalar {
            case "\"":
                position += 1
                if options.keepsQuotes { result.append("\"") }
                return result
            case "$": result.append(contentsOf: try dollar())
            case options.escape:
                position += 1
                guard let next = current else { continue }
                // Inside double quotes only these can be escaped.
                if options.keepsQuotes || (next != "\"" && next != "$" && next != options.escape) {
                    result.append(scalar)
                }
                result.append(next)
                position += 1
            default:
                result.append(scalar)
                position += 1
            }
        }
        throw fault("unexpected end of statement while looking for matching double-quote")
    }

    /// At a `$`.
    private mutating func dollar() throws(DockerfileError) -> String.UnicodeScalarView {
        let start = position
        position += 1
        if current == "{" {
            position += 1
            return try braced(from: start)
        }
        let name = readName()
        guard !name.isEmpty else { return "$".unicodeScalars }
        return plain(name, written: "$" + name)
    }

    private mutating func plain(_ name: String, written: String) -> String.UnicodeScalarView {
        guard let value = find(name) else { return (options.keepsUnknown ? written : "").unicodeScalars }
        return value.unicodeScalars
    }

    private mutating func find(_ name: String) -> String? {
        guard let value = lookUp(name) else {
            unknown.append(name)
            return nil
        }
        used.append(name)
        return value
    }

    private mutating func readName() -> String {
        var name = String.UnicodeScalarView()
        while let scalar = current {
            let isDigit = ("0"..."9").contains(scalar)
            let isLetter = ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || scalar == "_"
            if name.isEmpty, isDigit || "@*#".unicodeScalars.contains(scalar) {
                // Special parameters are one character long.
                position += 1
                return String(scalar)
            }
            guard isLetter || isDigit else { break }
            name.append(scalar)
            position += 1
        }
        return String(name)
    }

    private mutating func braced(from start: Int) throws(DockerfileError) -> String.UnicodeScalarView {
        if current == nil { throw fault("syntax error: missing '}'") }
        let name = readName()
        guard !name.isEmpty else { throw fault("syntax error: bad substitution") }
        guard let next = current else { throw fault("syntax error: missing '}'") }
        position += 1
        switch next {
        case "}": return plain(name, written: "${" + name + "}")
        case ":":
            guard let modifier = current, "+-?".unicodeScalars.contains(modifier) else {
                let written = current.map { ":" + String($0) } ?? ":"
                throw fault("unsupported modifier (\(written)) in substitution")
            }
            position += 1
            return try defaulted(name, modifier, treatsEmptyAsUnset: true, from: start)
        case "+", "-", "?": return try defaulted(name, next, treatsEmptyAsUnset: false, from: start)
        case "#", "%":
            let isLongest = current == next
            if isLongest { position += 1 }
            let pattern = GlobMatcher(String(try run(until: "}", collectsWords: false)))
            guard let value = find(name) else { return kept(from: start) }
            return try trimmed(value, pattern, isPrefix: next == "#", isLongest: isLongest).unicodeScalars
        case "/":
            let replacesAll = current == "/"
            if replacesAll { position += 1 }
            let pattern = GlobMatcher(try patternBeforeSlash())
            let replacement = String(try run(until: "}", collectsWords: false))
            guard let value = find(name) else { return kept(from: start) }
            return try replaced(value, pattern, by: replacement, all: replacesAll).unicodeScalars
        default: throw fault("unsupported modifier (\(String(next))) in substitution")
        }
    }

    /// The text from `start` to here where unknown names stay; else nothing.
    private func kept(from start: Int) -> String.UnicodeScalarView {
        guard options.keepsUnknown else { return String.UnicodeScalarView() }
        return String.UnicodeScalarView(scalars[start..<position])
    }

    private mutating func defaulted(
        _ name: String, _ modifier: Unicode.Scalar, treatsEmptyAsUnset: Bool, from start: Int
    ) throws(DockerfileError) -> String.UnicodeScalarView {
        let word = try run(until: "}", collectsWords: false)
        let value = lookUp(name)
        let isSet = value.map { !(treatsEmptyAsUnset && $0.isEmpty) } ?? false
        if value == nil { unknown.append(name) } else { used.append(name) }
        switch modifier {
        case "-": return isSet ? (value ?? "").unicodeScalars : word
        case "+": return isSet ? word : String.UnicodeScalarView()
        default:
            if isSet { return (value ?? "").unicodeScalars }
            guard value == nil || treatsEmptyAsUnset else { return String.UnicodeScalarView() }
            var message = value == nil ? "is not allowed to be unset" : "is not allowed to be empty"
            if !word.isEmpty { message = String(word) }
            throw fault("\(name): \(message)")
        }
    }

    private mutating func patternBeforeSlash() throws(DockerfileError) -> String {
        var pattern = String.UnicodeScalarView()
        while let scalar = current {
            switch scalar {
            case "/":
                position += 1
                return String(pattern)
            case "}": throw fault("syntax error: missing '/' in ${}")
            case "$": pattern.append(contentsOf: try dollar())
            case "\\":
                position += 1
                guard let next = current else { break }
                if next != "/" { pattern.append("\\") }
                pattern.append(next)
                position += 1
            default:
                pattern.append(scalar)
                position += 1
            }
        }
        throw fault("syntax error: missing '/' in ${}")
    }

    private mutating func ends(
        _ pattern: GlobMatcher, _ text: [Unicode.Scalar], from start: Int
    ) throws(DockerfileError) -> [Int] {
        guard let ends = pattern.ends(in: text, from: start, steps: &steps) else {
            throw fault("a pattern takes too long to match")
        }
        return ends
    }

    private mutating func trimmed(
        _ value: String, _ pattern: GlobMatcher, isPrefix: Bool, isLongest: Bool
    ) throws(DockerfileError) -> String {
        let text = Array(value.unicodeScalars)
        if isPrefix {
            let found = try ends(pattern, text, from: 0)
            guard let end = isLongest ? found.last : found.first else { return value }
            return String(String.UnicodeScalarView(text[end...]))
        }
        let starts = isLongest ? Array(0...text.count) : Array((0...text.count).reversed())
        for start in starts where try ends(pattern, text, from: start).last == text.count {
            return String(String.UnicodeScalarView(text[..<start]))
        }
        return value
    }

    private mutating func replaced(
        _ value: String, _ pattern: GlobMatcher, by replacement: String, all: Bool
    ) throws(DockerfileError) -> String {
        let text = Array(value.unicodeScalars)
        var result = String.UnicodeScalarView()
        var index = 0
        var isDone = false
        while index < text.count {
            if !isDone, let end = try ends(pattern, text, from: index).last, end > index {
                result.append(contentsOf: replacement.unicodeScalars)
                try charge(replacement.unicodeScalars.count)
                index = end
                isDone = !all
            } else {
                result.append(text[index])
                index += 1
            }
        }
        return String(result)
    }
}
