internal import PathPatterns

/// The paths of a tree that an operation touches when it reads what some selectors select.
package struct TreeFootprint: Sendable {
    /// Paths that are needed with all below them, from the root, without links.
    private var subtrees: Set<[UInt8]> = []
    /// Paths that lead there, and symbolic links on the way.
    private var ways: Set<[UInt8]> = [[]]

    init() {}

    /// Whether the entry at `path` is needed.
    package func includes(_ path: [UInt8]) -> Bool {
        if ways.contains(path) || subtrees.contains(path) { return true }
        for (index, byte) in path.enumerated() where byte == UInt8(ascii: "/") {
            if subtrees.contains([UInt8](path[..<index])) { return true }
        }
        return false
    }

    mutating func insert(subtree components: [[UInt8]]) {
        subtrees.insert(MergedTree.joined(components))
        insert(way: components)
    }

    mutating func insert(way components: [[UInt8]]) {
        for count in components.indices.dropFirst() { ways.insert(MergedTree.joined(Array(components[..<count]))) }
        ways.insert(MergedTree.joined(components))
    }
}

extension MergedTree {
    /// What of the tree is needed to read what `selectors` select, and to find that nothing else is there.
    ///
    /// Nil when that is all of it. Patterns that include and exclude are not looked at: the selected path is taken whole.
    /// - Throws: `TreeError`; `.notFound` for a path that is not there.
    package func footprint(of selectors: [ContentSelector]) throws(TreeError) -> TreeFootprint? {
        var footprint = TreeFootprint()
        for selector in selectors {
            let isPattern = selector.allowsWildcard && GoPattern.hasWildcards(selector.path)
            let paths = isPattern ? try matches(of: selector.path).map(Self.joined) : [Array(selector.path.utf8)]
            for path in paths {
                var links: [[[UInt8]]] = []
                let found = try resolve(path, followsLast: selector.followsSymlinks, links: &links)
                guard !found.components.isEmpty else { return nil }
                for link in links { footprint.insert(way: link) }
                footprint.insert(subtree: found.components)
            }
        }
        return footprint
    }
}
