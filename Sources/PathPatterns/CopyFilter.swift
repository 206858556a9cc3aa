/// Include and exclude patterns together, for paths below the one that is copied: included, or no includes, and not
/// excluded.
///
/// Who copies, who digests and who decides what has to be pulled ask the same filter, so that they mean the same entries.
package struct CopyFilter: Sendable {
    private let includes: PatternMatcher?
    private let excludes: PatternMatcher?

    /// Nil when there are no patterns: everything is wanted.
    package init?(includes: [String], excludes: [String]) throws(PatternError) {
        guard !includes.isEmpty || !excludes.isEmpty else { return nil }
        self.includes = includes.isEmpty ? nil : try PatternMatcher(includes)
        self.excludes = excludes.isEmpty ? nil : try PatternMatcher(excludes)
    }

    /// Whether the entry itself is wanted; the path is relative, `/` between components.
    package func selects(_ path: String) -> Bool {
        (includes?.matches(path) ?? true) && !(excludes?.matches(path) ?? false)
    }

    /// Whether a directory is looked into: it is wanted, or something below it may be.
    package func entersDirectory(_ path: String) -> Bool {
        if selects(path) { return true }
        if let includes, !includes.matches(path), !includes.mayMatchBelow(path) { return false }
        guard let excludes, excludes.matches(path) else { return true }
        return excludes.mayNegateBelow(path)
    }
}
