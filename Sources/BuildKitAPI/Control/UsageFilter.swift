internal import GRPCCore
internal import PeerRuntime

/// containerd's filter expressions: terms `key`, `key==value`, `key!=value` and `key~=regex`, joined by commas to "all
/// of them"; several expressions mean "any of them", and none or an empty one matches everything.
struct UsageFilter: Sendable {
    /// Longest expression in bytes.
    static let expressionBytesMax = 4096

    private struct Term: Sendable {
        enum Test: Sendable {
            case present
            case equal(String)
            case unequal(String)
            case pattern(String)
        }

        var key: String
        var test: Test

        func matches(_ value: String?) -> Bool {
            switch test {
            case .present: return value != nil
            case .equal(let wanted): return value == wanted
            case .unequal(let unwanted): return value != unwanted
            case .pattern(let pattern):
                guard let value, let regex = try? Regex(pattern) else { return false }
                return value.firstMatch(of: regex) != nil
            }
        }
    }

    private var alternatives: [[Term]]

    /// - Throws: `InvalidArgument` that names the expression and the place.
    static func parse(_ expressions: [String]) throws(RPCError) -> UsageFilter {
        var alternatives: [[Term]] = []
        for expression in expressions { alternatives.append(try terms(of: expression)) }
        return UsageFilter(alternatives: alternatives)
    }

    /// Whether something matches; `value` gives a field's text, empty for a flag that is set and nil for what is absent.
    func matches(_ value: (String) -> String?) -> Bool {
        alternatives.isEmpty || alternatives.contains { terms in terms.allSatisfy { $0.matches(value($0.key)) } }
    }

    func matches(_ usage: CacheUsage) -> Bool {
        matches { key in
            switch key {
            case "id": usage.id
            case "parents": usage.parents.joined(separator: ";")
            case "description": usage.text
            case "type": usage.kind
            case "inuse": usage.isInUse ? "" : nil
            case "mutable": usage.isMutable ? "" : nil
            case "immutable": usage.isMutable ? nil : ""
            case "shared": usage.isShared ? "" : nil
            case "private": usage.isShared ? nil : ""
            default: nil
            }
        }
    }

    private static func terms(of expression: String) throws(RPCError) -> [Term] {
        guard expression.utf8.count <= expressionBytesMax else {
            throw RPCError(code: .invalidArgument, message: "a filter is at most \(expressionBytesMax) bytes")
        }
        var terms: [Term] = []
        var rest = expression[...]
        while !rest.isEmpty {
            let key = rest.prefix { $0.isLetter || $0.isNumber || "._-/".contains($0) }
            rest = rest.dropFirst(key.count)
            let operation = rest.prefix { "=!~".contains($0) }
            rest = rest.dropFirst(operation.count)
            guard !key.isEmpty, ["", "==", "!=", "~="].contains(operation) else { throw invalid(expression, rest) }
            if operation.isEmpty {
                terms.append(Term(key: String(key), test: .present))
            } else {
                let value = try takeValue(&rest, of: expression)
                switch operation {
                case "==": terms.append(Term(key: String(key), test: .equal(value)))
                case "!=": terms.append(Term(key: String(key), test: .unequal(value)))
                default:
                    guard (try? Regex(value)) != nil else { throw invalid(expression, rest) }
                    terms.append(Term(key: String(key), test: .pattern(value)))
                }
            }
            guard rest.isEmpty || rest.first == "," else { throw invalid(expression, rest) }
            rest = rest.dropFirst()
        }
        return terms
    }

    /// A value ends at a comma unless it is in quotes, where a backslash keeps the next character.
    private static func takeValue(_ rest: inout Substring, of expression: String) throws(RPCError) -> String {
        guard rest.first == "\"" else {
            let value = rest.prefix { $0 != "," }
            rest = rest.dropFirst(value.count)
            return String(value)
        }
        rest = rest.dropFirst()
        var value = ""
        while let character = rest.popFirst() {
            if character == "\"" { return value }
            guard character == "\\" else {
                value.append(character)
                continue
            }
            guard let kept = rest.popFirst() else { break }
            value.append(kept)
        }
        throw invalid(expression, rest)
    }

    private static func invalid(_ expression: String, _ rest: Substring) -> RPCError {
        RPCError(
            code: .invalidArgument,
            message: """
                filter '\(expression)' is not valid at byte \(expression.utf8.count - rest.utf8.count); expected terms \
                key, key==value, key!=value or key~=regex, joined by commas
                """)
    }
}
