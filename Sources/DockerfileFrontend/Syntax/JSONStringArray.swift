/// The exec form: a JSON array of strings.
enum JSONStringArray {
    enum Outcome: Hashable {
        case strings([String])
        /// An array with something else than strings in it, which is an error rather than a shell command.
        case otherElements
        case noArray
    }

    static func parse(_ text: String) -> Outcome {
        var reader = Reader(scalars: Array(text.unicodeScalars))
        return reader.array()
    }

    private struct Reader {
        let scalars: [Unicode.Scalar]
        var position = 0

        init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

        var current: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

        mutating func skipBlanks() {
            while let scalar = current, scalar == " " || scalar == "\t" || scalar == "\n" || scalar == "\r" {
                position += 1
            }
        }

        mutating func array() -> Outcome {
            skipBlanks()
            guard current == "[" else { return .noArray }
            position += 1
            var values: [String] = []
            var hasOthers = false
            skipBlanks()
            if current == "]" {
                position += 1
            } else {
                while true {
                    skipBlanks()
                    if current == "\"" {
                        guard let value = string() else { return .noArray }
                        values.append(value)
                    } else {
                        guard scalarValue() else { return .noArray }
                        hasOthers = true
                    }
                    skipBlanks()
                    guard let separator = current else { return .noArray }
                    position += 1
                    if separator == "]" { break }
                    guard separator == "," else { return .noArray }
                }
            }
            skipBlanks()
            guard current == nil else { return .noArray }
            return hasOthers ? .otherElements : .strings(values)
        }

        /// A number, true, false or null; nested arrays and objects are not worth telling apart from shell text.
        mutating func scalarValue() -> Bool {
            let start = position
            while let scalar = current, scalar != ",", scalar != "]", !scalar.properties.isWhitespace { position += 1 }
            let text = String(String.UnicodeScalarView(scalars[start..<position]))
            return ["true", "false", "null"].contains(text) || Double(text) != nil
        }

        mutating func string() -> String? {
            position += 1
            var value = String.UnicodeScalarView()
            while let scalar = current {
                position += 1
                switch scalar {
                case "\"": return String(value)
                case "\\":
                    guard let escaped = escapedScalar() else { return nil }
                    value.append(escaped)
                default:
                    guard scalar.value >= 0x20 else { return nil }
                    value.append(scalar)
                }
            }
            return nil
        }

        mutating func escapedScalar() -> Unicode.Scalar? {
            guard let scalar = current else { return nil }
            position += 1
            switch scalar {
            case "\"", "\\", "/": return scalar
            case "b": return "\u{8}"
            case "f": return "\u{c}"
            case "n": return "\n"
            case "r": return "\r"
            case "t": return "\t"
            case "u": return unicodeEscape()
            default: return nil
            }
        }

        mutating func unicodeEscape() -> Unicode.Scalar? {
            guard let first = hexQuad() else { return nil }
            guard (0xD800...0xDBFF).contains(first) else { return Unicode.Scalar(first) ?? "\u{FFFD}" }
            let mark = position
            guard current == "\\" else { return "\u{FFFD}" }
            position += 1
            guard current == "u" else {
                position = mark
                return "\u{FFFD}"
            }
            position += 1
            guard let second = hexQuad() else { return nil }
            guard (0xDC00...0xDFFF).contains(second) else { return "\u{FFFD}" }
            return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) ?? "\u{FFFD}"
        }

        mutating func hexQuad() -> UInt32? {
            guard position + 4 <= scalars.count else { return nil }
            let digits = String(String.UnicodeScalarView(scalars[position..<position + 4]))
            guard digits.allSatisfy(\.isHexDigit) else { return nil }
            position += 4
            return UInt32(digits, radix: 16)
        }
    }
}
