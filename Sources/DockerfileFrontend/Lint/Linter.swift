/// Collects violations, each once, and says whether they fail the build.
struct Linter: Sendable {
    /// One violation.
    struct Violation: Hashable, Sendable {
        var rule: LintRule
        var message: String
        var lines: [LineRange]
    }

    private(set) var violations: [Violation] = []
    private var seen: Set<Violation> = []
    private var skipped: Set<String> = []
    private var skipsAll = false
    private(set) var isError = false

    /// Reads `skip=A,B;error=true`, of the `check` directive or of the build argument that overrides it.
    init(configuration: String) throws(DockerfileError) {
        for part in configuration.split(separator: ";") {
            let pieces = part.split(separator: "=", maxSplits: 1).map { String($0.trimmed) }
            guard pieces.count == 2 else {
                throw DockerfileError(.syntax, "invalid check option \(GoText.quoted(String(part)))")
            }
            switch pieces[0] {
            case "skip":
                let names = pieces[1].split(separator: ",").map { String($0.trimmed).lowercased() }
                skipped.formUnion(names)
                skipsAll = names == ["all"]
            case "error":
                guard let value = GoBool.parse(pieces[1]) else {
                    throw DockerfileError(.syntax, "failed to parse check option \"error\": \(pieces[1]) is no boolean")
                }
                isError = value
            case "experimental": break
            default: throw DockerfileError(.syntax, "invalid check option \(GoText.quoted(pieces[0]))")
            }
        }
    }

    mutating func report(_ rule: LintRule, _ message: String, _ lines: LineRange) {
        guard !skipsAll, !skipped.contains(rule.rawValue.lowercased()) else { return }
        let violation = Violation(rule: rule, message: message, lines: [lines])
        if seen.insert(violation).inserted { violations.append(violation) }
    }

    /// Throws when there are violations and they were asked to be errors.
    func check() throws(DockerfileError) {
        guard isError, !violations.isEmpty else { return }
        let names = Set(violations.map(\.rule.rawValue)).sorted().joined(separator: ", ")
        throw DockerfileError(
            .lint, "lint violation found for rules: \(names)", lines: violations.first?.lines ?? [])
    }
}
