/// The members of a JSON object, each value as its own compact text.
///
/// An exporter changes a few members of a config that somebody else wrote: what it does not know has to stay as it
/// is, including the order within the values and the spelling of numbers.
struct JSONObjectText: Sendable {
    /// Deepest nesting that is read; bounds the recursion over hostile input.
    static let depthMax = 128

    /// Compact text of each value by name; a name that came twice has its last value.
    var members: [String: [UInt8]]

    /// Reads an object; nil when `text` is no JSON object.
    init?(_ text: [UInt8]) {
        var scanner = JSONScanner(bytes: text)
        guard let members = scanner.object() else { return nil }
        self.members = members
    }

    /// The object with its members sorted by name, as Go writes a map.
    var sorted: JSONValue {
        .object(members.sorted { $0.key < $1.key }.map { JSONValue.Member(escapedName: $0.key, .raw($0.value)) })
    }
}

private struct JSONScanner {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func object() -> [String: [UInt8]]? {
        var members: [String: [UInt8]] = [:]
        guard take("{") else { return nil }
        if take("}") { return atEnd ? members : nil }
        repeat {
            skipSpace()
            var name: [UInt8] = []
            guard copyString(to: &name), take(":") else { return nil }
            var value: [UInt8] = []
            guard copyValue(to: &value, depth: 1) else { return nil }
            // Names with escapes are kept in their escaped form: none that an exporter looks for has any.
            members[String(decoding: name.dropFirst().dropLast(), as: UTF8.self)] = value
        } while take(",")
        guard take("}"), atEnd else { return nil }
        return members
    }

    private var atEnd: Bool {
        mutating get {
            skipSpace()
            return position == bytes.count
        }
    }

    private mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[position]) { position += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func copyValue(to out: inout [UInt8], depth: Int) -> Bool {
        skipSpace()
        guard position < bytes.count, depth < JSONObjectText.depthMax else { return false }
        switch bytes[position] {
        case UInt8(ascii: "\""): return copyString(to: &out)
        case UInt8(ascii: "{"): return copyList(to: &out, close: "}", depth: depth, named: true)
        case UInt8(ascii: "["): return copyList(to: &out, close: "]", depth: depth, named: false)
        default:
            let start = position
            while position < bytes.count, !Self.ends(bytes[position]) { position += 1 }
            out += bytes[start..<position]
            return position > start
        }
    }

    private static func ends(_ byte: UInt8) -> Bool {
        byte <= 0x20 || [UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: ":")].contains(byte)
    }

    private mutating func copyList(
        to out: inout [UInt8], close: Unicode.Scalar, depth: Int, named: Bool
    ) -> Bool {
        out.append(bytes[position])
        position += 1
        if take(close) {
            out.append(UInt8(ascii: close))
            return true
        }
        while true {
            if named {
                skipSpace()
                guard copyString(to: &out), take(":") else { return false }
                out.append(UInt8(ascii: ":"))
            }
            guard copyValue(to: &out, depth: depth + 1) else { return false }
            if take(close) {
                out.append(UInt8(ascii: close))
                return true
            }
            guard take(",") else { return false }
            out.append(UInt8(ascii: ","))
        }
    }

    /// Copies a string with its quotes and escapes; `<`, `>` and `&` become escapes, as Go's encoder has it.
    private mutating func copyString(to out: inout [UInt8]) -> Bool {
        guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else { return false }
        out.append(bytes[position])
        position += 1
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                out.append(byte)
                return true
            case UInt8(ascii: "\\"):
                guard position < bytes.count else { return false }
                out += [byte, bytes[position]]
                position += 1
            case UInt8(ascii: "<"): out += "\\u003c".utf8
            case UInt8(ascii: ">"): out += "\\u003e".utf8
            case UInt8(ascii: "&"): out += "\\u0026".utf8
            case 0..<0x20: return false
            default: out.append(byte)
            }
        }
        return false
    }
}
