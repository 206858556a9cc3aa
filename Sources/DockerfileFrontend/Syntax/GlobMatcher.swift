/// Patterns of `${name#pattern}` and its relatives: `*`, `?` and escaped characters.
struct GlobMatcher {
    private enum Token: Equatable {
        case one(Unicode.Scalar)
        case any
        case anyRun
    }

    private let tokens: [Token]

    init(_ pattern: String) {
        var tokens: [Token] = []
        var rest = pattern.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            switch scalar {
            case "*": if tokens.last != .anyRun { tokens.append(.anyRun) }
            case "?": tokens.append(.any)
            case "\\": tokens.append(.one(rest.popFirst() ?? "\\"))
            default: tokens.append(.one(scalar))
            }
        }
        self.tokens = tokens
    }

    /// Ends of all matches that begin at `start`, ascending.
    ///
    /// Nil when the work would exceed `steps`.
    func ends(in text: [Unicode.Scalar], from start: Int, steps: inout Int) -> [Int]? {
        // One pass of a non-deterministic automaton over the text.
        var current = closure([0])
        var ends: [Int] = current.contains(tokens.count) ? [start] : []
        var position = start
        while position < text.count, !current.isEmpty {
            steps -= current.count
            guard steps > 0 else { return nil }
            var following: Set<Int> = []
            for state in current where state < tokens.count {
                switch tokens[state] {
                case .anyRun: following.insert(state)
                case .any: following.insert(state + 1)
                case .one(let scalar): if scalar == text[position] { following.insert(state + 1) }
                }
            }
            current = closure(following)
            position += 1
            if current.contains(tokens.count) { ends.append(position) }
        }
        return ends
    }

    private func closure(_ states: Set<Int>) -> Set<Int> {
        var result = states
        for state in states where state < tokens.count && tokens[state] == .anyRun { result.insert(state + 1) }
        return result
    }
}
