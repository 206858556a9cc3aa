/// A here-document of RUN, COPY or ADD.
struct Heredoc: Hashable, Sendable {
    /// The end word, without quotes.
    var name: String
    /// Number before `<<`; 0 when none is written.
    var descriptor: Int
    /// False when the end word was quoted.
    var expands: Bool
    /// `<<-`: leading tabs go.
    var stripsTabs: Bool
    /// The lines as written, each with its line end.
    var content: String = ""

    /// Reads `N<<-WORD`; nil for any other text.
    init?(word: String) {
        var rest = Substring(word)
        let digits = rest.prefix { $0.isASCII && $0.isNumber }
        rest = rest.dropFirst(digits.count)
        guard rest.hasPrefix("<<") else { return nil }
        rest = rest.dropFirst(2)
        stripsTabs = rest.hasPrefix("-")
        if stripsTabs { rest = rest.dropFirst() }
        guard !rest.isEmpty, !rest.contains("<"), let name = Self.unquoted(rest), !name.isEmpty else { return nil }
        self.name = name
        descriptor = Int(digits) ?? 0
        expands = !rest.contains { $0 == "\"" || $0 == "'" }
    }

    private static func unquoted(_ text: Substring) -> String? {
        var result = ""
        var quote: Character?
        for character in text {
            if let open = quote {
                if character == open { quote = nil } else { result.append(character) }
            } else if character == "\"" || character == "'" {
                quote = character
            } else if character.isWhitespace {
                return nil
            } else {
                result.append(character)
            }
        }
        return quote == nil ? result : nil
    }

    /// The content, without leading tabs when `<<-` asks for that.
    var text: String {
        guard stripsTabs else { return content }
        // By scalars: to Swift a CR LF is one character.
        return content.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false)
            .map { String($0.drop { $0 == "\t" }) }
            .joined(separator: "\n")
    }

    /// The here-documents that a line starts, in order.
    static func all(in line: String, escape: Unicode.Scalar) -> [Heredoc] {
        guard line.contains("<<") else { return [] }
        return ShellWords.split(line, escape: escape).compactMap { Heredoc(word: $0) }
    }
}
