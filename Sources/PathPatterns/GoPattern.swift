/// Shell patterns as Go's `path/filepath.Match` reads them, which COPY sources use.
///
/// `*` and `?` never match `/`; `[a-z]` and `[^a-z]` are classes; `\` takes the next character as it is.
package struct GoPattern: Sendable, Hashable {
    private enum Token: Hashable, Sendable {
        case literal(UInt8)
        case anyByte
        case anySequence
        case oneOf(ranges: [ClosedRange<UInt32>], isNegated: Bool)
    }

    private let tokens: [Token]

    /// Whether `text` has any character with a meaning, so that it has to be matched rather than looked up.
    package static func hasWildcards(_ text: String) -> Bool {
        text.utf8.contains { "*?[\\".utf8.contains($0) }
    }

    /// Parses a pattern; throws when a class is not closed or a `\` ends it.
    package init(_ pattern: String) throws(PatternError) {
        var tokens: [Token] = []
        var rest = pattern.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            switch scalar {
            case "*": if tokens.last != .anySequence { tokens.append(.anySequence) }
            case "?": tokens.append(.anyByte)
            case "[": tokens.append(try Self.parseClass(&rest, in: pattern))
            case "\\":
                guard let escaped = rest.popFirst() else { throw .malformed(pattern, "it ends with \\") }
                tokens += String(escaped).utf8.map(Token.literal)
            default: tokens += String(scalar).utf8.map(Token.literal)
            }
        }
        self.tokens = tokens
    }

    private static func parseClass(
        _ rest: inout Substring.UnicodeScalarView, in pattern: String
    ) throws(PatternError) -> Token {
        var ranges: [ClosedRange<UInt32>] = []
        let isNegated = rest.first == "^"
        if isNegated { rest.removeFirst() }
        while true {
            guard let first = rest.first else { throw .malformed(pattern, "a [ is not closed by ]") }
            if first == "]", !ranges.isEmpty {
                rest.removeFirst()
                return .oneOf(ranges: ranges, isNegated: isNegated)
            }
            let low = try parseClassCharacter(&rest, in: pattern)
            var high = low
            if rest.first == "-" {
                rest.removeFirst()
                high = try parseClassCharacter(&rest, in: pattern)
            }
            guard low <= high else { throw .malformed(pattern, "a range in [ ] runs backwards") }
            ranges.append(low...high)
        }
    }

    private static func parseClassCharacter(
        _ rest: inout Substring.UnicodeScalarView, in pattern: String
    ) throws(PatternError) -> UInt32 {
        guard let scalar = rest.popFirst(), scalar != "-", scalar != "]" else {
            throw .malformed(pattern, "a [ is not closed by ]")
        }
        guard scalar == "\\" else { return scalar.value }
        guard let escaped = rest.popFirst() else { throw .malformed(pattern, "it ends with \\") }
        return escaped.value
    }

    /// Whether the pattern matches the whole of `name`.
    package func matches(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        // Greedy matching with one point of return: linear in practice, quadratic at worst.
        var token = 0
        var position = 0
        var retry: (token: Int, position: Int)?
        while position < bytes.count || token < tokens.count {
            if token < tokens.count {
                if tokens[token] == .anySequence {
                    retry = (token, position)
                    token += 1
                    continue
                }
                if let length = matchLength(tokens[token], bytes, at: position) {
                    position += length
                    token += 1
                    continue
                }
            }
            guard let back = retry, back.position < bytes.count, bytes[back.position] != UInt8(ascii: "/") else {
                return false
            }
            retry = (back.token, back.position + 1)
            token = back.token + 1
            position = back.position + 1
        }
        return true
    }

    /// Bytes of `bytes` that `token` takes at `position`; nil when it does not match there.
    private func matchLength(_ token: Token, _ bytes: [UInt8], at position: Int) -> Int? {
        guard position < bytes.count else { return nil }
        switch token {
        case .literal(let byte): return bytes[position] == byte ? 1 : nil
        case .anySequence: return nil
        case .anyByte:
            guard bytes[position] != UInt8(ascii: "/") else { return nil }
            return Self.scalar(in: bytes, at: position).length
        case .oneOf(let ranges, let isNegated):
            guard bytes[position] != UInt8(ascii: "/") else { return nil }
            let (value, length) = Self.scalar(in: bytes, at: position)
            return ranges.contains { $0.contains(value) } != isNegated ? length : nil
        }
    }

    private static func scalar(in bytes: [UInt8], at position: Int) -> (value: UInt32, length: Int) {
        let first = bytes[position]
        let length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        let end = min(position + length, bytes.count)
        let text = String(decoding: bytes[position..<end], as: UTF8.self)
        guard let scalar = text.unicodeScalars.first, end - position == length else { return (UInt32(first), 1) }
        return (scalar.value, length)
    }
}

/// Why a text is no pattern.
package enum PatternError: Error, Hashable, CustomStringConvertible {
    case malformed(String, String)

    package var description: String {
        switch self {
        case .malformed(let pattern, let why): "syntax error in pattern \"\(pattern)\": \(why)"
        }
    }
}
