/// One instruction after continuation lines were joined, before its arguments are understood.
struct RawInstruction: Hashable, Sendable {
    /// The keyword as written.
    var keyword: String
    /// `--name[=value]` words before the arguments.
    var flags: [String]
    /// Everything after keyword and flags, trimmed.
    var arguments: String
    /// The whole joined line.
    var original: String
    var lines: LineRange
    var heredocs: [Heredoc]
    /// Comment lines directly above it, without `#`.
    var comments: [String]

    /// The keyword in capitals.
    var name: String { keyword.uppercased() }

    /// Splits a joined line into keyword, flags and arguments.
    init(
        line: String, lines: LineRange, comments: [String], escape: Unicode.Scalar
    ) throws(DockerfileError) {
        let trimmed = line.trimmed
        keyword = String(trimmed.prefix { !$0.isWhitespace })
        var rest = trimmed.dropFirst(keyword.count)
        flags = []
        while true {
            rest = rest.drop(while: \.isWhitespace)
            guard rest.hasPrefix("--") else { break }
            let word = Self.flagWord(rest, escape: escape)
            rest = rest[word.end...]
            if word.text == "--" { break }
            flags.append(word.text)
        }
        arguments = String(rest.trimmed)
        original = String(trimmed)
        self.lines = lines
        self.comments = comments
        heredocs = []
    }

    /// The next blank-delimited word without its quotes; `\ ` and quoted blanks do not end it.
    private static func flagWord(_ text: Substring, escape: Unicode.Scalar) -> (text: String, end: Substring.Index) {
        var result = ""
        var quote: Character?
        var index = text.startIndex
        while index < text.endIndex {
            let character = text[index]
            if let open = quote {
                if character == open { quote = nil } else { result.append(character) }
            } else if character.isWhitespace {
                break
            } else if character == "\"" || character == "'" {
                quote = character
            } else if character.unicodeScalars.first == escape {
                let next = text.index(after: index)
                guard next < text.endIndex else { break }
                // An escaped `$` keeps its escape: it is for the expansion that comes later.
                if text[next] == "$" { result.append(character) }
                result.append(text[next])
                index = next
            } else {
                result.append(character)
            }
            index = text.index(after: index)
        }
        return (result, index)
    }

    /// Whether `<<WORD` means a here-document in this instruction.
    var allowsHeredocs: Bool {
        var name = name
        var body = arguments
        if name == "ONBUILD" {
            name = String(arguments.prefix { !$0.isWhitespace }).uppercased()
            body = String(arguments.dropFirst(name.count).trimmed)
        }
        guard ["RUN", "COPY", "ADD"].contains(name) else { return false }
        if case .strings = JSONStringArray.parse(body) { return false }
        return true
    }
}
