/// Why a path of a tree cannot be used.
package enum TreeError: Error, Hashable, CustomStringConvertible {
    /// Nothing is there. The text is the one that BuildKit's users know.
    case notFound(String)
    case notDirectory(String)
    /// More than `MergedTree.linksMax` symbolic links on the way.
    case tooManyLinks(String)
    case malformedPattern(String)

    package var description: String {
        switch self {
        case .notFound(let path): "\"\(path)\": not found"
        case .notDirectory(let path): "\"\(path)\": not a directory"
        case .tooManyLinks(let path): "\"\(path)\": too many levels of symbolic links"
        case .malformedPattern(let why): why
        }
    }
}

extension MergedTree {
    /// Linux follows 40 links in one path (path_resolution(7)); BuildKit 255.
    ///
    /// More than either is a loop.
    package static let linksMax = 255

    /// Where a path leads.
    package struct Resolved: Sendable {
        /// Components from the root, without links.
        package let components: [[UInt8]]
        package let node: Node
    }

    /// What is at `path`, with symbolic links resolved as if the tree were the root file system.
    ///
    /// With `followsLast` a link in the last component is followed too. Throws a `TreeError` that names `path`.
    package func resolve(_ path: some Collection<UInt8>, followsLast: Bool) throws(TreeError) -> Resolved {
        var visited: [[[UInt8]]]?
        return try resolve(path, followsLast: followsLast, visited: &visited)
    }

    /// As above; the components of all that was passed, links and what `..` took back too, are added to `visited`, if
    /// there is any.
    func resolve(
        _ path: some Collection<UInt8>, followsLast: Bool, visited: inout [[[UInt8]]]?
    ) throws(TreeError) -> Resolved {
        let shown = { () -> String in "/" + String(decoding: path.drop { $0 == UInt8(ascii: "/") }, as: UTF8.self) }
        var pending = Self.components(path)
        pending.reverse()
        var stack: [(name: [UInt8], node: Node)] = []
        var links = 0
        while let name = pending.popLast() {
            let directory = stack.last?.node ?? root
            if name == [UInt8(ascii: "."), UInt8(ascii: ".")] {
                _ = stack.popLast()
                continue
            }
            guard directory.isDirectory else { throw .notDirectory(shown()) }
            guard let node = directory.child(name) else { throw .notFound(shown()) }
            visited?.append(stack.map(\.name) + [name])
            guard case .symlink(let target) = node.kind, followsLast || !pending.isEmpty else {
                stack.append((name, node))
                continue
            }
            links += 1
            guard links <= Self.linksMax else { throw .tooManyLinks(shown()) }
            if target.first == UInt8(ascii: "/") { stack.removeAll() }
            pending += Self.components(target).reversed()
        }
        return Resolved(components: stack.map(\.name), node: stack.last?.node ?? root)
    }

    /// What is at `path`, links in its parents followed and one in the last component not; nil when nothing is there.
    package func lookup(_ path: String) -> Node? {
        try? resolve(path.utf8, followsLast: false).node
    }

    /// The children of the directory at `path`, in the byte order of names.
    package func children(of path: String) throws(TreeError) -> [Child] {
        let found = try resolve(path.utf8, followsLast: true)
        guard found.node.isDirectory else { throw .notDirectory("/" + path) }
        return found.node.children
    }

    /// Path components without empty ones and `.`.
    static func components(_ path: some Collection<UInt8>) -> [[UInt8]] {
        path.split(separator: UInt8(ascii: "/")).map { [UInt8]($0) }.filter { $0 != [UInt8(ascii: ".")] }
    }
}
