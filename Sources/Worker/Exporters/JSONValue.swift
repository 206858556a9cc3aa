/// A JSON document whose members keep their order, so that equal input gives equal bytes and so equal digests.
enum JSONValue: Sendable, Hashable {
    case object([Member])
    case array([JSONValue])
    case string(String)
    case integer(Int64)
    case boolean(Bool)
    /// Compact JSON text taken over as it is.
    case raw([UInt8])

    /// One name and its value.
    struct Member: Sendable, Hashable {
        var name: String
        var value: JSONValue
        /// Whether `name` is JSON text already.
        private(set) var isEscaped = false

        init(_ name: String, _ value: JSONValue) {
            self.name = name
            self.value = value
        }

        init(escapedName name: String, _ value: JSONValue) {
            self.init(name, value)
            isEscaped = true
        }
    }

    /// An object of strings, sorted by name.
    static func strings(_ values: [String: String]) -> JSONValue {
        .object(values.sorted { $0.key < $1.key }.map { Member($0.key, .string($0.value)) })
    }

    /// Without any white space.
    var compact: [UInt8] {
        var out: [UInt8] = []
        write(to: &out, indent: nil)
        return out
    }

    /// Indented by two blanks a level, as BuildKit writes manifests and indexes.
    var indented: [UInt8] {
        var out: [UInt8] = []
        write(to: &out, indent: 0)
        return out
    }

    private func write(to out: inout [UInt8], indent: Int?) {
        switch self {
        case .object(let members):
            Self.writeItems(members, "{", "}", to: &out, indent: indent) { member, out, inner in
                if member.isEscaped {
                    out += "\"\(member.name)\"".utf8
                } else {
                    Self.write(string: member.name, to: &out)
                }
                out.append(UInt8(ascii: ":"))
                if inner != nil { out.append(UInt8(ascii: " ")) }
                member.value.write(to: &out, indent: inner)
            }
        case .array(let values):
            Self.writeItems(values, "[", "]", to: &out, indent: indent) { value, out, inner in
                value.write(to: &out, indent: inner)
            }
        case .string(let text): Self.write(string: text, to: &out)
        case .integer(let number): out += String(number).utf8
        case .boolean(let flag): out += (flag ? "true" : "false").utf8
        case .raw(let text): out += text
        }
    }

    private static func writeItems<Item>(
        _ items: [Item], _ open: Unicode.Scalar, _ close: Unicode.Scalar, to out: inout [UInt8], indent: Int?,
        _ write: (Item, inout [UInt8], Int?) -> Void
    ) {
        out.append(UInt8(ascii: open))
        let inner = indent.map { $0 + 1 }
        for (index, item) in items.enumerated() {
            if index > 0 { out.append(UInt8(ascii: ",")) }
            newLine(inner, to: &out)
            write(item, &out, inner)
        }
        if !items.isEmpty { newLine(indent, to: &out) }
        out.append(UInt8(ascii: close))
    }

    private static func newLine(_ indent: Int?, to out: inout [UInt8]) {
        guard let indent else { return }
        out.append(UInt8(ascii: "\n"))
        out += [UInt8](repeating: UInt8(ascii: " "), count: indent * 2)
    }

    /// Go's encoder also escapes `<`, `>`, `&` and the two line separators; equal configs need equal text.
    private static func write(string: String, to out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\"".utf8
            case "\\": out += "\\\\".utf8
            case "\n": out += "\\n".utf8
            case "\r": out += "\\r".utf8
            case "\t": out += "\\t".utf8
            case "\u{8}": out += "\\b".utf8
            case "\u{c}": out += "\\f".utf8
            case "<", ">", "&", "\u{2028}", "\u{2029}": out += escape(scalar).utf8
            case _ where scalar.value < 0x20: out += escape(scalar).utf8
            default: out += String(scalar).utf8
            }
        }
        out.append(UInt8(ascii: "\""))
    }

    private static func escape(_ scalar: Unicode.Scalar) -> String {
        let hex = String(scalar.value, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
    }
}
