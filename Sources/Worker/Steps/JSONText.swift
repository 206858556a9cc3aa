/// A JSON value that is written once, with its members in the given order, so that equal steps give equal bytes.
indirect enum JSONText: Sendable {
    case text(String)
    case number(Int64)
    case unsigned(UInt64)
    case boolean(Bool)
    case array([JSONText])
    case object([(String, JSONText)])

    static func strings(_ values: [String]) -> JSONText { .array(values.map(JSONText.text)) }

    func encoded() -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(16 << 10)
        write(to: &output)
        return output
    }

    private func write(to output: inout [UInt8]) {
        switch self {
        case .text(let text): Self.write(text, to: &output)
        case .number(let value): output += String(value).utf8
        case .unsigned(let value): output += String(value).utf8
        case .boolean(let value): output += (value ? "true" : "false").utf8
        case .array(let values):
            output.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                value.write(to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .object(let members):
            output.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                Self.write(member.0, to: &output)
                output.append(UInt8(ascii: ":"))
                member.1.write(to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }

    private static func write(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), byte]
            case 0..<0x20, 0x7F:
                let digits = Array("0123456789abcdef".utf8)
                output += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}

extension JSONText: ExpressibleByStringLiteral, ExpressibleByArrayLiteral {
    init(stringLiteral value: String) { self = .text(value) }
    init(arrayLiteral elements: JSONText...) { self = .array(elements) }
}
