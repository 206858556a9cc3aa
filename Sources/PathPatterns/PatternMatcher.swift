/// An ordered list of include or exclude patterns with `.dockerignore` semantics: the last pattern that matches decides.
///
/// A pattern is rooted at the directory; `**` crosses directories; `!` takes back; a pattern that matches a directory
/// holds for all below it. Source: Docker's documentation of `.dockerignore`.
package struct PatternMatcher: Sendable {
    private struct Rule: Sendable {
        let isNegated: Bool
        let parts: [Part]
    }

    private enum Part: Sendable {
        /// `**`: any number of whole path components, none too.
        case anyComponents
        case component(GoPattern)
    }

    private let rules: [Rule]

    /// Whether a `!` pattern is among them, so that an excluded directory may still have wanted entries.
    package let hasNegations: Bool

    /// Parses patterns; empty lines are skipped and paths cleaned as `filepath.Clean` does.
    package init(_ patterns: [String]) throws(PatternError) {
        var rules: [Rule] = []
        for line in patterns {
            var text = Self.trimmed(line)
            let isNegated = text.hasPrefix("!")
            if isNegated { text = Self.trimmed(String(text.dropFirst())) }
            guard !text.isEmpty else {
                if isNegated { throw .malformed(line, "nothing follows the !") }
                continue
            }
            var parts: [Part] = []
            for component in Self.cleaned(text) { parts.append(try Self.part(component)) }
            guard !parts.isEmpty || text == "." || text == "/" else { continue }
            rules.append(Rule(isNegated: isNegated, parts: parts))
        }
        self.rules = rules
        hasNegations = rules.contains(where: \.isNegated)
    }

    package var isEmpty: Bool { rules.isEmpty }

    private static func part(_ component: String) throws(PatternError) -> Part {
        // `a**b` inside a component is as good as `a*b` there.
        component == "**" ? .anyComponents : .component(try GoPattern(component))
    }

    /// Whether `path` (relative, `/` between components) is matched by the last pattern that concerns it or a parent.
    package func matches(_ path: String) -> Bool {
        let components = path.split(separator: "/").map(String.init)
        var isMatched = false
        for rule in rules where rule.isNegated == isMatched {
            if Self.covers(rule.parts, components) { isMatched = !rule.isNegated }
        }
        return isMatched
    }

    /// Whether something below the directory `path` could be matched although the directory itself is not.
    package func mayMatchBelow(_ path: String) -> Bool {
        let components = path.split(separator: "/").map(String.init)
        return rules.contains { !$0.isNegated && Self.couldReach($0.parts[...], components[...]) }
    }

    /// Whether a `!` pattern could match something below the directory `path`.
    package func mayNegateBelow(_ path: String) -> Bool {
        let components = path.split(separator: "/").map(String.init)
        return rules.contains { $0.isNegated && Self.couldReach($0.parts[...], components[...]) }
    }

    /// Whether the parts match the path or one of its parents.
    private static func covers(_ parts: [Part], _ components: [String]) -> Bool {
        guard !parts.isEmpty else { return true }
        return (1...max(1, components.count)).contains { count in
            count <= components.count && match(parts[...], components[..<count])
        }
    }

    private static func match(_ parts: ArraySlice<Part>, _ components: ArraySlice<String>) -> Bool {
        guard let part = parts.first else { return components.isEmpty }
        switch part {
        case .component(let pattern):
            guard let component = components.first, pattern.matches(component) else { return false }
            return match(parts.dropFirst(), components.dropFirst())
        case .anyComponents:
            if parts.count == 1 { return !components.isEmpty }
            return (0...components.count).contains { match(parts.dropFirst(), components.dropFirst($0)) }
        }
    }

    /// Whether some path below `components` could be matched by the parts.
    private static func couldReach(_ parts: ArraySlice<Part>, _ components: ArraySlice<String>) -> Bool {
        guard let component = components.first else { return !parts.isEmpty }
        guard let part = parts.first else { return true }
        switch part {
        case .anyComponents: return true
        case .component(let pattern):
            return pattern.matches(component) && couldReach(parts.dropFirst(), components.dropFirst())
        }
    }

    private static func trimmed(_ text: String) -> String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\r" || $0 == "\n" }
        return String(text.drop(while: isSpace).reversed().drop(while: isSpace).reversed())
    }

    /// The path's components without `.`, empty ones and what `..` takes back.
    private static func cleaned(_ text: String) -> [String] {
        var components: [String] = []
        for component in text.split(separator: "/").map(String.init) where component != "." {
            if component == "..", let last = components.last, last != ".." {
                components.removeLast()
            } else {
                components.append(component)
            }
        }
        return components
    }
}
