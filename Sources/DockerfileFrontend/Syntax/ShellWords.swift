/// Splits a line at blanks outside quotes; quotes and escapes stay in the words.
enum ShellWords {
    static func split(_ line: String, escape: Unicode.Scalar) -> [String] {
        var words: [String] = []
        var word = String.UnicodeScalarView()
        var isInWord = false
        var quote: Unicode.Scalar?
        var rest = line.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            if let open = quote {
                word.append(scalar)
                if scalar == open {
                    quote = nil
                } else if scalar == escape, open == "\"", let next = rest.popFirst() {
                    word.append(next)
                }
                continue
            }
            if scalar.properties.isWhitespace {
                if isInWord { words.append(String(word)) }
                word = String.UnicodeScalarView()
                isInWord = false
                continue
            }
            isInWord = true
            word.append(scalar)
            if scalar == "\"" || scalar == "'" {
                quote = scalar
            } else if scalar == escape, let next = rest.popFirst() {
                word.append(next)
            }
        }
        if isInWord { words.append(String(word)) }
        return words
    }
}
