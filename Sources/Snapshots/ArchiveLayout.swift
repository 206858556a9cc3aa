internal import OCI
internal import Transfer

/// The tree that an archive's members make, in memory: nothing on disk can be reached through a member's name.
///
/// Links in a member's parents are followed as if the layer, over the chain below it, were the root file system.
struct ArchiveLayout {
    /// What a file's content comes from.
    enum Content {
        /// Numbered in the order of the archive.
        case data(Int)
        /// A file of a lower layer, which a hard link names.
        case lower(layer: Digest, path: [UInt8])
    }

    final class Inode {
        var entry: LayerEntry
        var content: Content?
        init(_ entry: LayerEntry, content: Content? = nil) {
            self.entry = entry
            self.content = content
        }
    }

    final class Node {
        /// Nil for what is only a whiteout.
        var inode: Inode?
        var isWhiteout = false
        var isOpaque = false
        var children: [[UInt8]: Node] = [:]
    }

    private static let whiteoutPrefix = Array(".wh.".utf8)
    private static let opaqueName = Array(".wh..wh..opq".utf8)
    private static let metadataPrefix = Array(".wh..wh.".utf8)

    private let root = Node()
    private let lower: MergedTree
    private let entriesMax: Int
    private let metadataBytesMax: Int
    private var members = 0
    /// Names and extended attributes of the tree, and the bytes of its paths, link targets and attributes.
    private var parts = 0
    private var metadataBytes = 0
    /// The whole, once `finish` has been called: where each file's content comes from.
    private(set) var contents: [[UInt8]: Content] = [:]

    /// A layer over `lower`.
    ///
    /// It has at most `entriesMax` names and extended attributes, made by as many members, and `metadataBytesMax` bytes
    /// of paths, link targets and attributes: beyond either no node could read its manifest.
    init(
        over lower: MergedTree, entriesMax: Int = LayerManifest.entriesMax,
        metadataBytesMax: Int = LayerManifest.encodedBytesMax
    ) {
        self.lower = lower
        self.entriesMax = entriesMax
        self.metadataBytesMax = metadataBytesMax
    }

    /// Takes one member.
    ///
    /// `content` says which number the file's bytes were stored under, and their chunks.
    /// - Throws: `ArchiveError.entry` for what a layer cannot have.
    mutating func add(_ member: TarEntry, content: (number: Int, chunked: ChunkedContent)?) throws(ArchiveError) {
        members += 1
        guard members <= entriesMax else { throw refuse(member, "there are too many entries") }
        try countMetadata(of: member)
        let components = try components(member.name, of: member)
        guard let name = components.last else {
            guard member.kind == .directory else { throw refuse(member, "the root is no directory") }
            root.inode = Inode(entry(member, .directory(isOpaque: false)))
            return
        }
        let (parent, path) = try directory(components.dropLast(), of: member)
        if name == Self.opaqueName {
            parent.isOpaque = true
            return
        }
        // Marks of aufs, from which the names come: they say nothing about the tree.
        if name.starts(with: Self.metadataPrefix) { return }
        if name.starts(with: Self.whiteoutPrefix) {
            let target = Array(name.dropFirst(Self.whiteoutPrefix.count))
            if let why = LayerManifest.fault(inName: target) { throw refuse(member, why) }
            try child(target, of: parent, at: Self.pathBytes(path, target), for: member).isWhiteout = true
            return
        }
        let node = try child(name, of: parent, at: Self.pathBytes(path, name), for: member)
        if member.kind == .hardlink {
            let inode = try linked(member)
            node.inode = inode
            node.children = [:]
            return
        }
        let kind: LayerEntry.Kind
        switch member.kind {
        case .directory: kind = .directory(isOpaque: false)
        case .file:
            guard let content else { preconditionFailure("a file's content is read before it is added") }
            kind = .file(size: member.size, content: content.chunked)
        case .symlink: kind = .symlink(target: member.linkName)
        case .characterDevice: kind = .characterDevice(major: member.major, minor: member.minor)
        case .blockDevice: kind = .blockDevice(major: member.major, minor: member.minor)
        case .fifo: kind = .fifo
        case .hardlink: return
        }
        if member.kind != .directory {
            node.children = [:]
            node.isOpaque = false
        }
        node.inode = Inode(entry(member, kind), content: content.map { .data($0.number) })
    }

    /// The child called `name`, made where it is missing; its path has `pathBytes` bytes.
    private mutating func child(
        _ name: [UInt8], of parent: Node, at pathBytes: Int, for member: TarEntry
    ) throws(ArchiveError) -> Node {
        if let known = parent.children[name] { return known }
        // Links in paths lead deeper than any name says, and a chain of nodes is released recursively.
        guard pathBytes <= LayerManifest.pathBytesMax else { throw refuse(member, "its path is too long") }
        // One member's name makes two thousand directories.
        try count(1, bytes: pathBytes, for: member)
        let node = Node()
        parent.children[name] = node
        return node
    }

    private static func pathBytes(_ parent: [UInt8], _ name: [UInt8]) -> Int {
        parent.isEmpty ? name.count : parent.count + 1 + name.count
    }

    /// Counts what a member brings besides its names, before any of it is kept.
    private mutating func countMetadata(of member: TarEntry) throws(ArchiveError) {
        var bytes = 0
        if member.kind == .symlink {
            guard member.linkName.count <= LayerManifest.pathBytesMax else {
                throw refuse(member, "its link target is too long")
            }
            bytes = member.linkName.count
        }
        guard member.attributes.count <= LayerManifest.attributesMax else {
            throw refuse(member, "it has too many extended attributes")
        }
        for attribute in member.attributes { bytes += attribute.name.count + attribute.value.count }
        try count(member.attributes.count, bytes: bytes, for: member)
    }

    private mutating func count(_ more: Int, bytes: Int, for member: TarEntry) throws(ArchiveError) {
        parts += more
        metadataBytes += bytes
        guard parts <= entriesMax else { throw refuse(member, "there are too many entries") }
        guard metadataBytes <= metadataBytesMax else {
            throw refuse(member, "the layer's paths, links and attributes have more than \(metadataBytesMax) bytes")
        }
    }

    private func refuse(_ member: TarEntry, _ why: String) -> ArchiveError {
        .entry(name: String(decoding: member.name, as: UTF8.self), why)
    }

    private func components(_ path: [UInt8], of member: TarEntry) throws(ArchiveError) -> [[UInt8]] {
        guard path.count <= LayerManifest.pathBytesMax else { throw refuse(member, "its path is too long") }
        var components: [[UInt8]] = []
        for part in path.split(separator: UInt8(ascii: "/")) where !part.elementsEqual([UInt8(ascii: ".")]) {
            if let why = LayerManifest.fault(inName: part) { throw refuse(member, why) }
            components.append(Array(part))
        }
        return components
    }

    private func entry(_ member: TarEntry, _ kind: LayerEntry.Kind) -> LayerEntry {
        var entry = LayerEntry(
            path: [], mode: member.mode, uid: member.uid, gid: member.gid, modified: member.modified, kind: kind)
        if case .symlink = kind { entry.mode = 0o777 }
        // overlayfs' own attributes would redirect or hide what is in other layers.
        entry.attributes = member.attributes.filter { !$0.name.starts(with: LayerManifest.overlayAttributePrefix) }
            .sorted()
        return entry
    }

    /// The directory at `components`, made where it is missing, and its path.
    private mutating func directory(
        _ components: ArraySlice<[UInt8]>, of member: TarEntry
    ) throws(ArchiveError) -> (Node, [UInt8]) {
        var pending = Array(components.reversed())
        var stack: [(name: [UInt8], node: Node, pathBytes: Int)] = []
        var links = 0
        while let name = pending.popLast() {
            if name == [UInt8(ascii: "."), UInt8(ascii: ".")] {
                _ = stack.popLast()
                continue
            }
            let parent = stack.last?.node ?? root
            let pathBytes = stack.last.map { $0.pathBytes + 1 + name.count } ?? name.count
            let node = try child(name, of: parent, at: pathBytes, for: member)
            if node.inode == nil { inherit(node, stack.map(\.name) + [name]) }
            switch node.inode?.entry.kind {
            case .directory: stack.append((name, node, pathBytes))
            case .symlink(let target):
                links += 1
                guard links <= MergedTree.linksMax else { throw refuse(member, "too many links in its path") }
                if target.first == UInt8(ascii: "/") { stack.removeAll() }
                // One that is only known from below is not part of this layer.
                if node.isInherited {
                    parent.children[name] = nil
                    parts -= 1
                    metadataBytes -= pathBytes
                }
                pending += target.split(separator: UInt8(ascii: "/")).map { Array($0) }
                    .filter { $0 != [UInt8(ascii: ".")] }.reversed()
            default: throw refuse(member, "its parent \(display(name)) is no directory")
            }
        }
        return (stack.last?.node ?? root, Array(stack.map(\.name).joined(separator: [UInt8(ascii: "/")])))
    }

    /// A parent that the archive does not have: as it is below, else a plain directory.
    private func inherit(_ node: Node, _ path: [[UInt8]]) {
        let found = try? lower.resolve(path.joined(separator: [UInt8(ascii: "/")]).map { $0 }, followsLast: false).node
        var entry = SnapshotStore.defaultRoot
        if let found, !node.isWhiteout {
            switch found.kind {
            case .directory: entry = found.entry
            case .symlink:
                entry = found.entry
                node.isInherited = true
            default: break
            }
        }
        node.inode = Inode(entry)
    }

    private mutating func linked(_ member: TarEntry) throws(ArchiveError) -> Inode {
        let target = try components(member.linkName, of: member)
        guard let name = target.last else { throw refuse(member, "it is a hard link to the root") }
        let shown = String(decoding: member.linkName, as: UTF8.self)
        let (parent, path) = try directory(target.dropLast(), of: member)
        if let inode = parent.children[name]?.inode {
            guard !inode.entry.isDirectory else { throw refuse(member, "it is a hard link to the directory \(shown)") }
            return inode
        }
        let full = path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
        guard let found = try? lower.resolve(full, followsLast: false).node, let layer = found.layer, !found.isDirectory
        else { throw refuse(member, "it is a hard link to \(shown), which is not there") }
        var source = found.entry.path
        if case .hardlink(let first) = found.entry.kind { source = first }
        var entry = found.entry
        entry.kind = found.kind
        guard case .file = found.kind else { return Inode(entry) }
        return Inode(entry, content: .lower(layer: layer, path: source))
    }

    /// The layer.
    ///
    /// Inodes with several names become hard links; whiteouts that hide nothing more are dropped.
    mutating func finish() throws(SnapshotError) -> LayerManifest {
        var entries: [LayerEntry] = []
        var names: [ObjectIdentifier: [Int]] = [:]
        var inodes: [Int: Inode] = [:]
        var pending: [(node: Node, path: [UInt8], isBelowOpaque: Bool)] = [(root, [], false)]
        while let (node, path, isBelowOpaque) = pending.popLast() {
            guard let inode = node.inode else {
                if node === root {
                    enter(node, path, isBelowOpaque, &pending)
                } else if node.isWhiteout, !isBelowOpaque {
                    entries.append(.whiteout(path))
                }
                continue
            }
            var entry = inode.entry
            entry.path = path
            if entry.isDirectory {
                // A whiteout beside a directory of the same name: the directory replaces what is below.
                let isOpaque = !path.isEmpty && (node.isOpaque || node.isWhiteout)
                entry.kind = .directory(isOpaque: isOpaque)
                enter(node, path, isBelowOpaque || isOpaque, &pending)
            } else if case .file = entry.kind {
                names[ObjectIdentifier(inode), default: []].append(entries.count)
                inodes[entries.count] = inode
            }
            entries.append(entry)
        }
        for indices in names.values {
            let sorted = indices.sorted { entries[$0].path.lexicographicallyPrecedes(entries[$1].path) }
            contents[entries[sorted[0]].path] = inodes[sorted[0]]?.content
            for index in sorted.dropFirst() { entries[index].kind = .hardlink(target: entries[sorted[0]].path) }
        }
        return try layerManifest(entries)
    }

    private func enter(
        _ node: Node, _ path: [UInt8], _ isBelowOpaque: Bool,
        _ pending: inout [(node: Node, path: [UInt8], isBelowOpaque: Bool)]
    ) {
        for (name, child) in node.children {
            pending.append((child, path.isEmpty ? name : path + [UInt8(ascii: "/")] + name, isBelowOpaque))
        }
    }
}

extension ArchiveLayout.Node {
    /// Whether the node stands for a symbolic link of a lower layer, found while a path was followed.
    fileprivate var isInherited: Bool {
        get { isOpaque && inode?.entry.isDirectory == false }
        set { isOpaque = newValue }
    }
}
