package import OCI

/// The layer that turns one tree into another.
package struct TreeDifference: Sendable {
    /// Where an entry of the difference has its content from.
    package struct Origin: Sendable, Hashable {
        package let layer: Digest
        /// The path in that layer.
        package let path: [UInt8]

        package init(layer: Digest, path: [UInt8]) {
            self.layer = layer
            self.path = path
        }
    }

    package private(set) var entries: [LayerEntry] = []
    /// By the path of each file of `entries`.
    package private(set) var origins: [[UInt8]: Origin] = [:]
    /// The first path of each group of hard links that the difference has taken in.
    private var firsts: [Origin: [UInt8]] = [:]

    /// Compares two trees.
    ///
    /// Times count for what is no directory, as in BuildKit's own comparison.
    package init(from lower: MergedTree, to upper: MergedTree) {
        compareChildren(lower.root, upper.root, at: [])
        let (old, new) = (lower.root.entry, upper.root.entry)
        if Self.metadata(old) != Self.metadata(new) { entries.append(new.at([])) }
        linkTogether()
    }

    private mutating func compareChildren(_ lower: MergedTree.Node?, _ upper: MergedTree.Node, at path: [UInt8]) {
        let old = lower?.isDirectory == true ? lower?.children ?? [] : []
        var index = 0
        for child in upper.children {
            while index < old.count, old[index].name.lexicographicallyPrecedes(child.name) {
                entries.append(.whiteout(Self.join(path, old[index].name)))
                index += 1
            }
            var before: MergedTree.Node?
            if index < old.count, old[index].name == child.name {
                before = old[index].node
                index += 1
            }
            compare(before, child.node, at: Self.join(path, child.name))
        }
        for gone in old[index...] { entries.append(.whiteout(Self.join(path, gone.name))) }
    }

    private mutating func compare(_ lower: MergedTree.Node?, _ upper: MergedTree.Node, at path: [UInt8]) {
        // Shared by both trees: nothing below it can differ.
        if let lower, lower === upper { return }
        if upper.isDirectory {
            let place = entries.count
            compareChildren(lower, upper, at: path)
            let isSame =
                lower?.isDirectory == true && lower.map { Self.metadata($0.entry) } == Self.metadata(upper.entry)
            if !isSame || entries.count > place { entries.insert(upper.entry.at(path), at: place) }
            return
        }
        if let lower, lower.kind == upper.kind, lower.entry.modified == upper.entry.modified,
            Self.metadata(lower.entry) == Self.metadata(upper.entry)
        {
            return
        }
        var entry = upper.entry.at(path)
        entry.kind = upper.kind
        if case .file = upper.kind, let layer = upper.layer {
            var source = upper.entry.path
            if case .hardlink(let target) = upper.entry.kind { source = target }
            origins[path] = Origin(layer: layer, path: source)
        }
        entries.append(entry)
    }

    /// Files of one inode in the upper tree are one inode in the difference too.
    private mutating func linkTogether() {
        entries.sort { $0.path.lexicographicallyPrecedes($1.path) }
        for index in entries.indices {
            guard let origin = origins[entries[index].path] else { continue }
            if let first = firsts[origin] {
                entries[index].kind = .hardlink(target: first)
                origins[entries[index].path] = nil
            } else {
                firsts[origin] = entries[index].path
            }
        }
    }

    private static func join(_ path: [UInt8], _ name: [UInt8]) -> [UInt8] {
        path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
    }

    /// The entry without what is compared apart or does not count.
    private static func metadata(_ entry: LayerEntry) -> LayerEntry {
        LayerEntry(
            path: [], mode: entry.mode, uid: entry.uid, gid: entry.gid, attributes: entry.attributes, kind: .fifo)
    }
}

extension LayerEntry {
    fileprivate func at(_ path: [UInt8]) -> LayerEntry {
        var copy = self
        copy.path = path
        return copy
    }
}
