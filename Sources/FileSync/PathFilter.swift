internal import PathPatterns

/// Which entries of a tree are sent: include and exclude patterns, with links followed into more includes.
struct PathFilter: Sendable {
    /// Nil includes everything.
    private let includes: PatternMatcher?
    private let excludes: PatternMatcher?

    /// Paths in `follow` are included with every symbolic link on their way, and what those lead to.
    init(includes: [String], excludes: [String], follow: [String], root: DirectoryHandle) throws {
        var patterns = includes
        if !follow.isEmpty { patterns += try SymlinkFollower.resolve(follow, below: root) }
        // A pattern that is the root itself includes everything.
        let isAll = patterns.isEmpty || patterns.contains(".")
        self.includes = isAll ? nil : try PatternMatcher(patterns)
        self.excludes = excludes.isEmpty ? nil : try PatternMatcher(excludes)
    }

    func allows(_ path: String) -> Bool {
        (includes?.matches(path) ?? true) && !(excludes?.matches(path) ?? false)
    }

    /// Whether anything below the directory `path` may be allowed.
    func mayAllowBelow(_ path: String) -> Bool {
        if let includes, !includes.matches(path), !includes.mayMatchBelow(path) { return false }
        if let excludes, excludes.matches(path), !excludes.mayNegateBelow(path) { return false }
        return true
    }
}
