/// Texts that BuildKit prints with Go's formatting, which scripts compare.
enum GoText {
    /// Go's `%q` of a string.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case "\r": result += "\\r"
            case "\u{7}": result += "\\a"
            case "\u{8}": result += "\\b"
            case "\u{c}": result += "\\f"
            case "\u{b}": result += "\\v"
            default:
                if scalar.value < 0x20 || scalar.value == 0x7F {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\x" + (digits.count == 1 ? "0" + digits : digits)
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }

    /// Go's `%q` of a list of strings: `["a" "b"]`.
    static func quoted(_ texts: [String]) -> String {
        "[" + texts.map { quoted($0) }.joined(separator: " ") + "]"
    }

    /// Go's `%v` of a list of strings: `[a b]`.
    static func listed(_ texts: [String]) -> String { "[" + texts.joined(separator: " ") + "]" }

    /// Go's text of a duration in nanoseconds, such as `1m30s`.
    static func duration(_ nanoseconds: Int64) -> String {
        guard nanoseconds != 0 else { return "0s" }
        let sign = nanoseconds < 0 ? "-" : ""
        let value = nanoseconds.magnitude
        if value < 1_000 { return sign + "\(value)ns" }
        if value < 1_000_000 { return sign + decimal(value, unit: 1_000) + "µs" }
        if value < 1_000_000_000 { return sign + decimal(value, unit: 1_000_000) + "ms" }
        let seconds = value / 1_000_000_000
        let hours = seconds / 3600
        let minutes = seconds / 60 % 60
        var text = sign
        if hours > 0 { text += "\(hours)h" }
        if hours > 0 || minutes > 0 { text += "\(minutes)m" }
        return text + decimal(value % 60_000_000_000, unit: 1_000_000_000) + "s"
    }

    private static func decimal(_ value: UInt64, unit: UInt64) -> String {
        var fraction = String(value % unit + unit).dropFirst()
        while fraction.last == "0" { fraction.removeLast() }
        return fraction.isEmpty ? "\(value / unit)" : "\(value / unit).\(fraction)"
    }

    /// Parses Go's duration syntax to nanoseconds; nil for anything else or an overflow.
    static func parseDuration(_ text: String) -> Int64? {
        let units: [(String, Double)] = [
            ("ns", 1), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9),
        ]
        var rest = Substring(text)
        let isNegative = rest.hasPrefix("-")
        if isNegative || rest.hasPrefix("+") { rest.removeFirst() }
        if rest == "0" { return 0 }
        guard !rest.isEmpty else { return nil }
        var total = 0.0
        while !rest.isEmpty {
            let number = rest.prefix { ($0.isASCII && $0.isNumber) || $0 == "." }
            rest = rest.dropFirst(number.count)
            let name = rest.prefix { !(($0.isASCII && $0.isNumber) || $0 == ".") }
            rest = rest.dropFirst(name.count)
            guard let value = Double(number), let unit = units.first(where: { $0.0 == name }) else { return nil }
            total += value * unit.1
        }
        guard total < 9.2e18 else { return nil }
        return Int64(isNegative ? -total : total)
    }

    /// The name in `candidates` that is close enough to `word` to be meant, if any.
    static func suggestion(for word: String, among candidates: [String]) -> String? {
        let limit = 3
        var best: (String, Int)?
        for candidate in candidates where candidate != word {
            let distance = editDistance(word.lowercased(), candidate.lowercased())
            let isClose = distance <= min(limit, max(1, candidate.count / 2)) && distance < word.count
            if isClose, distance < (best?.1 ?? .max) {
                best = (candidate, distance)
            }
        }
        return best?.0
    }

    /// ` (did you mean X?)`, or nothing.
    static func hint(for word: String, among candidates: [String]) -> String {
        suggestion(for: word, among: candidates).map { " (did you mean \($0)?)" } ?? ""
    }

    private static func editDistance(_ left: String, _ right: String) -> Int {
        let a = Array(left.utf8.prefix(128)), b = Array(right.utf8.prefix(128))
        var previous = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var row = [i + 1]
            for (j, y) in b.enumerated() {
                row.append(min(previous[j] + (x == y ? 0 : 1), previous[j + 1] + 1, row[j] + 1))
            }
            previous = row
        }
        return previous[b.count]
    }
}
