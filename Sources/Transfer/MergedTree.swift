package import OCI
internal import Synchronization

/// The file tree that ordered layers make together, as overlayfs shows it.
///
/// A persistent tree: `applying` shares all that a layer leaves alone with the tree below it.
package struct MergedTree: Sendable {
    /// One path of the tree.
    package final class Node: Sendable {
        /// What is there; the path is that of the entry, which may be a hard link.
        package let entry: LayerEntry
        /// Kind of the content: a hard link has that of the file that it shares.
        package let kind: LayerEntry.Kind
        /// The layer that `entry` is from; nil for a root that no layer names.
        package let layer: Digest?
        /// In the byte order of names; empty unless a directory.
        package let children: [Child]
        /// The content digest of all from here down, once computed.
        let contentDigest = Mutex<Digest?>(nil)

        init(entry: LayerEntry, kind: LayerEntry.Kind, layer: Digest?, children: [Child] = []) {
            self.entry = entry
            self.kind = kind
            self.layer = layer
            self.children = children
        }

        /// The child called `name`, by binary search.
        package func child(_ name: some RandomAccessCollection<UInt8>) -> Node? {
            var low = 0
            var high = children.count
            while low < high {
                let middle = (low + high) / 2
                if children[middle].name.lexicographicallyPrecedes(name) { low = middle + 1 } else { high = middle }
            }
            return low < children.count && children[low].name.elementsEqual(name) ? children[low].node : nil
        }

        package var isDirectory: Bool {
            if case .directory = kind { true } else { false }
        }
    }

    package struct Child: Sendable {
        package let name: [UInt8]
        package let node: Node
    }

    package let root: Node

    /// The tree without layers: an empty root, 0755, owned by root.
    package init() {
        let entry = LayerEntry(path: [], mode: 0o755, kind: .directory(isOpaque: false))
        root = Node(entry: entry, kind: entry.kind, layer: nil)
    }

    private init(root: Node) { self.root = root }

    /// The tree of `layers`, lowest first.
    package init(layers: [LayerManifest]) {
        self = layers.reduce(MergedTree()) { $0.applying($1) }
    }

    /// The tree with one more layer on top.
    package func applying(_ layer: LayerManifest) -> MergedTree {
        let index = LayerIndex(layer)
        return MergedTree(
            root: Self.merge(
                index.rootEntry ?? root.entry, isFromLayer: index.rootEntry != nil,
                children: index.rootChildren, over: root, index))
    }

    /// A directory of a layer over what is below it, which may be nothing or no directory.
    private static func merge(
        _ entry: LayerEntry, isFromLayer: Bool, children: [Int], over below: Node?, _ index: LayerIndex
    ) -> Node {
        let isOpaque = entry.kind == .directory(isOpaque: true)
        let kept = isFromLayer && isOpaque ? [] : (below?.isDirectory == true ? below?.children ?? [] : [])
        var plain = entry
        plain.kind = .directory(isOpaque: false)
        var merged: [Child] = []
        merged.reserveCapacity(kept.count + children.count)
        var old = 0
        for child in children {
            let upper = index.layer.entries[child]
            let name = [UInt8](upper.path[index.nameStart(of: upper.path)...])
            while old < kept.count, kept[old].name.lexicographicallyPrecedes(name) {
                merged.append(kept[old])
                old += 1
            }
            var lower: Node?
            if old < kept.count, kept[old].name == name {
                lower = kept[old].node
                old += 1
            }
            if upper.isWhiteout { continue }
            let node =
                upper.isDirectory
                ? merge(upper, isFromLayer: true, children: index.children[child] ?? [], over: lower, index)
                : Node(entry: upper, kind: index.kind(of: upper), layer: index.layer.id)
            merged.append(Child(name: name, node: node))
        }
        merged += kept[old...]
        return Node(
            entry: plain, kind: plain.kind, layer: isFromLayer ? index.layer.id : below?.layer, children: merged)
    }
}

/// Which entries of a layer are in which of its directories.
private struct LayerIndex {
    let layer: LayerManifest
    let rootEntry: LayerEntry?
    private(set) var rootChildren: [Int] = []
    /// Children by the index of their directory's entry, in name order.
    private(set) var children: [Int: [Int]] = [:]

    init(_ layer: LayerManifest) {
        self.layer = layer
        rootEntry = layer.entries.first.flatMap { $0.path.isEmpty ? $0 : nil }
        var directories: [ArraySlice<UInt8>: Int] = [:]
        for (position, entry) in layer.entries.enumerated() where !entry.path.isEmpty {
            if entry.isDirectory { directories[entry.path[...]] = position }
            let slash = entry.path.lastIndex(of: UInt8(ascii: "/"))
            guard let slash else {
                rootChildren.append(position)
                continue
            }
            // A checked manifest has each parent.
            guard let parent = directories[entry.path[..<slash]] else { continue }
            children[parent, default: []].append(position)
        }
    }

    func nameStart(of path: [UInt8]) -> Int { path.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0 }

    func kind(of entry: LayerEntry) -> LayerEntry.Kind {
        guard case .hardlink(let target) = entry.kind else { return entry.kind }
        return layer.entry(at: target)?.kind ?? entry.kind
    }
}
