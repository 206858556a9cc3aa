package import OCI
internal import PathPatterns
internal import Synchronization

extension MergedTree {
    /// A digest of what `selectors` select: equal for equal content, whatever layers it is split into.
    ///
    /// Covers names below the selected path (and base names of what a wildcard matched), type, mode, owner, size, link
    /// target, device number, extended attributes and file content; not the times, nor the name of the path itself.
    /// - Throws: `TreeError`; `.notFound` for a path that is not there.
    package func contentDigest(of selectors: [ContentSelector]) throws(TreeError) -> Digest {
        var hasher = DigestHasher()
        for selector in selectors {
            if selector.allowsWildcard, GoPattern.hasWildcards(selector.path) {
                hasher.update([1])
                for match in try matches(of: selector.path) {
                    let node = try resolved(match, follows: selector.followsSymlinks)
                    Self.update(&hasher, counted: match.last ?? [])
                    hasher.update(try digest(of: node, selector).bytes)
                }
                hasher.update([2])
            } else {
                let found = try resolve(selector.path.utf8, followsLast: selector.followsSymlinks)
                hasher.update([0])
                hasher.update(try digest(of: found.node, selector).bytes)
            }
        }
        return hasher.finish()
    }

    /// Paths that a pattern matches component by component, in byte order; links in parents are followed.
    package func matches(of pattern: String) throws(TreeError) -> [[[UInt8]]] {
        var visited: [[[UInt8]]]?
        return try matches(of: pattern, visited: &visited)
    }

    /// As above; the components of all that was looked at are added to `visited`, if there is any.
    func matches(of pattern: String, visited: inout [[[UInt8]]]?) throws(TreeError) -> [[[UInt8]]] {
        var found: [[[UInt8]]] = [[]]
        for component in pattern.split(separator: "/") where component != "." {
            let text = String(component)
            var next: [[[UInt8]]] = []
            let matcher: GoPattern?
            do { matcher = GoPattern.hasWildcards(text) ? try GoPattern(text) : nil } catch {
                throw .malformedPattern("\(error)")
            }
            for path in found {
                guard let matcher else {
                    let longer = path + [Array(text.utf8)]
                    if (try? resolve(Self.joined(longer), followsLast: false, visited: &visited)) != nil {
                        next.append(longer)
                    }
                    continue
                }
                guard let node = try? resolve(Self.joined(path), followsLast: true, visited: &visited).node else {
                    continue
                }
                for child in node.children where matcher.matches(String(decoding: child.name, as: UTF8.self)) {
                    next.append(path + [child.name])
                }
            }
            found = next
        }
        return found
    }

    private func resolved(_ components: [[UInt8]], follows: Bool) throws(TreeError) -> Node {
        try resolve(Self.joined(components), followsLast: follows).node
    }

    static func joined(_ components: [[UInt8]]) -> [UInt8] {
        [UInt8](components.joined(separator: [UInt8(ascii: "/")]))
    }

    /// Patterns are for what is below a directory: a file that is selected itself is copied whatever they say.
    private func digest(of node: Node, _ selector: ContentSelector) throws(TreeError) -> Digest {
        guard let filter = try selector.filter(), node.isDirectory else { return Self.digest(of: node) }
        return Self.filteredDigest(of: node, at: "", filter) ?? Self.header(of: node).finish()
    }

    /// The digest of everything from `node` down; computed once for each node.
    static func digest(of node: Node) -> Digest {
        if let known = node.contentDigest.withLock({ $0 }) { return known }
        var hasher = header(of: node)
        for child in node.children {
            update(&hasher, counted: child.name)
            hasher.update(digest(of: child.node).bytes)
        }
        let digest = hasher.finish()
        node.contentDigest.withLock { $0 = digest }
        return digest
    }

    /// The digest of what the filter selects in a directory; nil when that is nothing.
    private static func filteredDigest(of directory: Node, at path: String, _ filter: CopyFilter) -> Digest? {
        var hasher = header(of: directory)
        var hasContent = false
        for child in directory.children {
            let name = String(decoding: child.name, as: UTF8.self)
            let childPath = path.isEmpty ? name : path + "/" + name
            let isSelected = filter.selects(childPath)
            var digest: Digest?
            if child.node.isDirectory {
                digest = filteredDigest(of: child.node, at: childPath, filter)
                if digest == nil, isSelected { digest = header(of: child.node).finish() }
            } else if isSelected {
                digest = Self.digest(of: child.node)
            }
            guard let digest else { continue }
            hasContent = true
            update(&hasher, counted: child.name)
            hasher.update(digest.bytes)
        }
        return hasContent ? hasher.finish() : nil
    }

    /// A hasher over the node's own metadata and content.
    private static func header(of node: Node) -> DigestHasher {
        var writer = CanonicalWriter()
        let entry = node.entry
        writer.append(number: UInt64(entry.mode))
        writer.append(number: UInt64(entry.uid))
        writer.append(number: UInt64(entry.gid))
        writer.append(number: UInt64(entry.attributes.count))
        for attribute in entry.attributes {
            writer.append(counted: attribute.name)
            writer.append(counted: attribute.value)
        }
        switch node.kind {
        case .directory: writer.append(UInt8(ascii: "d"))
        case .file(let size, let content):
            writer.append(UInt8(ascii: "f"))
            writer.append(number: UInt64(size))
            writer.append(content.digest.bytes)
        case .symlink(let target):
            writer.append(UInt8(ascii: "l"))
            writer.append(counted: target)
        case .characterDevice(let major, let minor):
            writer.append(UInt8(ascii: "c"))
            writer.append(number: UInt64(major))
            writer.append(number: UInt64(minor))
        case .blockDevice(let major, let minor):
            writer.append(UInt8(ascii: "b"))
            writer.append(number: UInt64(major))
            writer.append(number: UInt64(minor))
        case .fifo: writer.append(UInt8(ascii: "p"))
        case .hardlink, .whiteout: preconditionFailure("a merged tree has no \(node.kind)")
        }
        var hasher = DigestHasher()
        hasher.update(writer.bytes)
        return hasher
    }

    private static func update(_ hasher: inout DigestHasher, counted content: [UInt8]) {
        var writer = CanonicalWriter()
        writer.append(counted: content)
        hasher.update(writer.bytes)
    }
}
