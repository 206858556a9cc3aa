internal import Glibc
internal import PathPatterns

/// Finds every path that is touched when paths are followed through symbolic links, all inside one root.
struct SymlinkFollower {
    /// Links that are followed before a set of paths counts as hostile.
    private static let linksMax = 10_000

    private let root: DirectoryHandle
    private var resolved: Set<String> = []
    private var visited: Set<String> = []

    /// The paths themselves (as patterns, if they have wildcards), each link on the way and each target; sorted.
    static func resolve(_ paths: [String], below root: DirectoryHandle) throws -> [String] {
        var follower = SymlinkFollower(root: root)
        for path in paths { try follower.follow(path) }
        return follower.resolved.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private init(root: DirectoryHandle) { self.root = root }

    private mutating func follow(_ first: String) throws {
        var waiting = [SyncPath.confined(first)]
        while let path = waiting.popLast() {
            // A link into itself makes ever longer paths, others come back to where they were.
            guard path.utf8.count <= SyncPath.bytesMax, visited.insert(path).inserted else { continue }
            guard visited.count < Self.linksMax else {
                throw FileSyncError.violation("more than \(Self.linksMax) links to follow")
            }
            guard !path.isEmpty else {
                resolved.insert(".")
                continue
            }
            waiting += try step(path.split(separator: "/").map(String.init))
        }
    }

    /// Goes down one path up to the first link; what is still to follow after it.
    private mutating func step(_ components: [String]) throws -> [String] {
        var current = ""
        for (index, component) in components.enumerated() {
            current = SyncPath.join(current, component)
            let rest = components[(index + 1)...].joined(separator: "/")
            let targets = try targets(of: current)
            guard !targets.isEmpty else {
                if rest.isEmpty { resolved.insert(current) }
                continue
            }
            resolved.insert(current)
            return targets.map { SyncPath.confined($0 + "/" + rest) }
        }
        return []
    }

    /// Where a link leads, or the links among what a wildcard in the last component matches; empty without links.
    private func targets(of path: String) throws -> [String] {
        let (parent, name) = SyncPath.split(path)
        guard let directory = try? root.openDirectory(parent) else { return [] }
        guard GoPattern.hasWildcards(name) else { return try target(of: name, in: directory).map { [$0] } ?? [] }
        let pattern = try GoPattern(name)
        var targets: [String] = []
        for bytes in try directory.names() {
            guard let entry = String(validating: bytes, as: UTF8.self), pattern.matches(entry) else { continue }
            if let target = try target(of: entry, in: directory) { targets.append(target) }
        }
        return targets
    }

    private func target(of name: String, in directory: DirectoryHandle) throws -> String? {
        guard let found = try? directory.stat(name), found.st_mode & S_IFMT == S_IFLNK else { return nil }
        let link = String(decoding: try directory.readLink(name), as: UTF8.self)
        return link.hasPrefix("/") ? link : SyncPath.join(directory.path, link)
    }
}
