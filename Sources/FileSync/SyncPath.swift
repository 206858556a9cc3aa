/// Rules for the paths of a list of entries: relative, clean, in component order.
package enum SyncPath {
    /// Linux: PATH_MAX without the final zero.
    package static let bytesMax = 4_095
    /// Linux: NAME_MAX.
    package static let componentBytesMax = 255

    /// Whether `left` comes before `right` when `/` sorts below every other byte.
    package static func precedes(_ left: String, _ right: String) -> Bool {
        left.utf8.lexicographicallyPrecedes(right.utf8) { rank($0) < rank($1) }
    }

    private static func rank(_ byte: UInt8) -> Int { byte == UInt8(ascii: "/") ? -1 : Int(byte) }

    /// Throws unless `path` is relative, clean and short enough.
    package static func validate(_ path: String) throws(FileSyncError) {
        guard !path.isEmpty, path.utf8.count <= bytesMax else {
            throw .violation("a path has \(path.utf8.count) bytes, not 1 to \(bytesMax)")
        }
        for component in path.split(separator: "/", omittingEmptySubsequences: false) {
            guard !component.isEmpty, component != ".", component != "..", !component.utf8.contains(0),
                component.utf8.count <= componentBytesMax
            else { throw .violation("path \"\(path)\" is not a clean relative path") }
        }
    }

    /// The directory part (empty for the root) and the last component.
    package static func split(_ path: String) -> (parent: String, name: String) {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return ("", path) }
        return (String(path[..<slash]), String(path[path.utf8.index(after: slash)...]))
    }

    package static func join(_ parent: String, _ name: String) -> String {
        parent.isEmpty ? name : parent + "/" + name
    }

    /// The path without `.`, empty and `..` components; empty for the root.
    ///
    /// What would leave the root stays in it.
    package static func confined(_ path: String) -> String {
        var components: [Substring] = []
        for component in path.split(separator: "/") where component != "." {
            if component == ".." { _ = components.popLast() } else { components.append(component) }
        }
        return components.joined(separator: "/")
    }
}
