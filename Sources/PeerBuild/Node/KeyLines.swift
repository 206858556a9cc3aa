/// The lines on which the keys of a TOML text stand, as the parser tells no positions of values.
struct KeyLines {
    private var lines: [[String]: Int] = [:]

    init(_ text: String) {
        var section: [String] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let trimmed = line.drop { $0 == " " || $0 == "\t" }
            if trimmed.hasPrefix("[") {
                section = Self.parts(trimmed.drop { $0 == "[" }, until: "]")
                remember(section, index + 1)
            } else if !trimmed.hasPrefix("#"), trimmed.contains("=") {
                remember(section + Self.parts(trimmed, until: "="), index + 1)
            }
        }
    }

    /// The line, counted from 1, of a key given by its path.
    func line(of place: [String]) -> Int? { lines[place] }

    /// A dotted key stands for each of its parents too, unless they have lines of their own.
    private mutating func remember(_ place: [String], _ line: Int) {
        for count in 1...max(1, place.count) where count <= place.count {
            let prefix = Array(place.prefix(count))
            lines[prefix] = lines[prefix] ?? line
        }
    }

    /// Splits a dotted key with its quotes.
    private static func parts(_ text: Substring, until end: Character) -> [String] {
        var parts: [String] = []
        var current = ""
        var quote: Character?
        for character in text {
            if let open = quote {
                if character == open { quote = nil } else { current.append(character) }
            } else if character == "\"" || character == "'" {
                quote = character
            } else if character == end {
                break
            } else if character == "." {
                parts.append(current)
                current = ""
            } else if character != " ", character != "\t" {
                current.append(character)
            }
        }
        return parts + [current]
    }
}
