internal import PathPatterns

/// The paths of a tree that an operation touches when it reads what some selectors select.
///
/// What the layers have at these paths, with their deletion marks in the directories among them, shows the same there as
/// the whole tree does, and nothing that the whole tree does not have: also where some of the layers are whole.
package struct TreeFootprint: Sendable {
    /// Paths that are needed with all below them, from the root, without links.
    private var subtrees: Set<[UInt8]> = []
    /// Paths that lead there, directories that are listed, and what is needed by itself.
    private var ways: Set<[UInt8]> = [[]]

    /// What of the tree of `layers`, lowest first, is needed to read what `selectors` select, and to find that nothing
    /// else is there.
    ///
    /// Nil when that is all of it.
    /// - Throws: `TreeError`; `.notFound` for a path that is not there.
    package init?(of selectors: [ContentSelector], in layers: [LayerManifest]) throws(TreeError) {
        let tree = MergedTree(layers: layers)
        for selector in selectors {
            guard try insert(selector, in: tree, of: layers) else { return nil }
        }
        addLinkTargets(in: layers)
    }

    /// Whether an entry of one of the layers is needed.
    package func includes(_ entry: LayerEntry) -> Bool {
        if includes(path: entry.path) { return true }
        // What a layer deletes from a directory that is listed must not show.
        return entry.isWhiteout && ways.contains([UInt8](Self.parent(of: entry.path)))
    }

    private func includes(path: [UInt8]) -> Bool {
        if ways.contains(path) || subtrees.contains(path) { return true }
        guard !subtrees.isEmpty else { return false }
        for (index, byte) in path.enumerated() where byte == UInt8(ascii: "/") {
            if subtrees.contains([UInt8](path[..<index])) { return true }
        }
        return false
    }

    private static func parent(of path: [UInt8]) -> ArraySlice<UInt8> {
        path.lastIndex(of: UInt8(ascii: "/")).map { path[..<$0] } ?? []
    }

    // MARK: Making one

    /// False when the selector needs the whole tree.
    private mutating func insert(
        _ selector: ContentSelector, in tree: MergedTree, of layers: [LayerManifest]
    ) throws(TreeError) -> Bool {
        var visited: [[[UInt8]]]? = []
        defer { for path in visited ?? [] { insert(way: path) } }
        let filter = try selector.filter()
        let isPattern = selector.allowsWildcard && GoPattern.hasWildcards(selector.path)
        let paths =
            isPattern
            ? try tree.matches(of: selector.path, visited: &visited).map(MergedTree.joined)
            : [Array(selector.path.utf8)]
        for path in paths {
            let found = try tree.resolve(path, followsLast: selector.followsSymlinks, visited: &visited)
            for required in selector.requiredPaths {
                let below = MergedTree.joined(found.components + [Array(required.utf8)])
                _ = try tree.resolve(below, followsLast: true, visited: &visited)
            }
            if let filter, found.node.isDirectory {
                insert(way: found.components)
                insert(found.node, at: MergedTree.joined(found.components), "", filter, layers)
            } else {
                guard !found.components.isEmpty else { return false }
                insert(subtree: found.components)
            }
        }
        return true
    }

    /// What a filter selects in a directory, and the directories that are looked into for it.
    private mutating func insert(
        _ directory: MergedTree.Node, at path: [UInt8], _ relative: String, _ filter: CopyFilter,
        _ layers: [LayerManifest]
    ) {
        for child in directory.children {
            // As those who copy see names: bytes that are not UTF-8 are replaced in patterns' eyes only.
            let name = String(decoding: child.name, as: UTF8.self)
            let childRelative = relative.isEmpty ? name : relative + "/" + name
            let childPath = path.isEmpty ? child.name : path + [UInt8(ascii: "/")] + child.name
            guard filter.entersDirectory(childRelative) else { continue }
            if child.node.isDirectory {
                ways.insert(childPath)
                insert(child.node, at: childPath, childRelative, filter, layers)
            } else if filter.selects(childRelative) || layers.contains(where: { $0.hasDirectory(at: childPath) }) {
                // One that nobody wants may hide a directory of a lower layer that would be looked into.
                ways.insert(childPath)
            }
        }
    }

    /// The files that hard links among what is needed share, in whatever layer, until no more come.
    private mutating func addLinkTargets(in layers: [LayerManifest]) {
        var isComplete = false
        while !isComplete {
            isComplete = true
            for layer in layers {
                for entry in layer.entries {
                    guard case .hardlink(let target) = entry.kind, includes(entry), !includes(path: target) else {
                        continue
                    }
                    insert(way: MergedTree.components(target))
                    isComplete = false
                }
            }
        }
    }

    private mutating func insert(subtree components: [[UInt8]]) {
        subtrees.insert(MergedTree.joined(components))
        insert(way: components)
    }

    private mutating func insert(way components: [[UInt8]]) {
        for count in components.indices.dropFirst() { ways.insert(MergedTree.joined(Array(components[..<count]))) }
        ways.insert(MergedTree.joined(components))
    }
}

extension LayerManifest {
    fileprivate func hasDirectory(at path: [UInt8]) -> Bool { entry(at: path)?.isDirectory ?? false }
}
