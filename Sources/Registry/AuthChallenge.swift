/// One challenge of a `WWW-Authenticate` header (RFC 9110 §11.6.1).
struct AuthChallenge: Sendable, Hashable {
    /// Lower case, such as `bearer`.
    var scheme: String
    /// Names in lower case.
    var parameters: [String: String]

    /// All challenges of a header value; what can't be read is left out.
    static func parse(_ header: String) -> [AuthChallenge] {
        var scanner = ChallengeScanner(bytes: Array(header.utf8))
        return scanner.challenges()
    }
}

/// Reads challenges: `scheme name=value, name="quoted value", scheme …`.
private struct ChallengeScanner {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func challenges() -> [AuthChallenge] {
        var result: [AuthChallenge] = []
        while true {
            skip(while: { $0 == UInt8(ascii: ",") || Self.isSpace($0) })
            let word = token()
            guard !word.isEmpty else { return result }
            let beforeSpace = position
            skip(while: Self.isSpace)
            if peek == UInt8(ascii: "="), !result.isEmpty {
                position += 1
                skip(while: Self.isSpace)
                result[result.count - 1].parameters[word.lowercased()] = value()
            } else {
                position = beforeSpace
                result.append(AuthChallenge(scheme: word.lowercased(), parameters: [:]))
            }
        }
    }

    private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skip(while condition: (UInt8) -> Bool) {
        while let byte = peek, condition(byte) { position += 1 }
    }

    private mutating func token() -> String {
        let start = position
        skip(while: {
            !Self.isSpace($0) && $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: ",") && $0 != UInt8(ascii: "\"")
        })
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private mutating func value() -> String {
        guard peek == UInt8(ascii: "\"") else { return token() }
        position += 1
        var text: [UInt8] = []
        while let byte = peek {
            position += 1
            if byte == UInt8(ascii: "\"") { break }
            if byte == UInt8(ascii: "\\"), let escaped = peek {
                text.append(escaped)
                position += 1
            } else {
                text.append(byte)
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
}
