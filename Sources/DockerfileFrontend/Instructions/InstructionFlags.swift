/// The `--name[=value]` words of one instruction, checked against what it knows.
struct InstructionFlags {
    enum Kind {
        case text
        case boolean
        case list
    }

    private var texts: [String: [String]] = [:]

    /// Throws for a flag that is unknown, given twice, or has no value that fits.
    init(_ words: [String], allowed: [(String, Kind)]) throws(DockerfileError) {
        for word in words {
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts.first ?? "")
            let value = parts.count == 2 ? String(parts[1]) : nil
            guard let kind = allowed.first(where: { $0.0 == name })?.1 else {
                throw DockerfileError(
                    .syntax, "unknown flag: --\(name)" + GoText.hint(for: name, among: allowed.map(\.0)))
            }
            if case .list = kind {
            } else if texts[name] != nil {
                throw DockerfileError(.syntax, "duplicate flag specified: --\(name)")
            }
            switch kind {
            case .boolean:
                let text = value ?? "true"
                guard ["true", "false"].contains(text.lowercased()) else {
                    throw DockerfileError(.syntax, "expecting boolean value for flag --\(name), not: \(text)")
                }
                texts[name] = [text.lowercased()]
            case .text, .list:
                guard let value else { throw DockerfileError(.syntax, "missing a value on flag: --\(name)") }
                texts[name, default: []].append(value)
            }
        }
    }

    func text(_ name: String) -> String { texts[name]?.last ?? "" }
    func list(_ name: String) -> [String] { texts[name] ?? [] }
    /// Nil when not given.
    func boolean(_ name: String) -> Bool? { texts[name].map { $0.last == "true" } }
}
