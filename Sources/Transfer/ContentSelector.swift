internal import PathPatterns

/// Which part of a tree an operation reads.
package struct ContentSelector: Sendable, Hashable {
    /// From the tree's root, with or without a leading `/`; `..` cannot leave the root.
    package var path: String
    /// Whether `path` is a Go pattern; one that matches nothing selects nothing, without an error.
    package var allowsWildcard: Bool
    /// Whether a symbolic link in the last component is followed.
    package var followsSymlinks: Bool
    /// `.dockerignore` patterns relative to the selected path; none means everything.
    package var includePatterns: [String]
    package var excludePatterns: [String]
    /// Paths relative to the selected one that have to be there, whatever the patterns say; they count for no digest.
    package var requiredPaths: [String]

    package init(
        path: String, allowsWildcard: Bool = false, followsSymlinks: Bool = false, includePatterns: [String] = [],
        excludePatterns: [String] = [], requiredPaths: [String] = []
    ) {
        self.path = path
        self.allowsWildcard = allowsWildcard
        self.followsSymlinks = followsSymlinks
        self.includePatterns = includePatterns
        self.excludePatterns = excludePatterns
        self.requiredPaths = requiredPaths
    }

    /// Nil without patterns.
    func filter() throws(TreeError) -> CopyFilter? {
        do { return try CopyFilter(includes: includePatterns, excludes: excludePatterns) } catch {
            throw .malformedPattern("\(error)")
        }
    }
}
