internal import ClusterModel
internal import Foundation
internal import OCI
internal import PathPatterns
internal import Snapshots
internal import Transfer

/// Reads files of a result that is on this node.
///
/// Paths are resolved in the manifests, where a link cannot lead out of the tree; what is opened then has no links.
struct ResultReader: Sendable {
    /// Longest file that is read for a client: a gRPC message is at most 16 MiB.
    static let fileBytesMax: Int64 = 15 << 20

    let snapshots: SnapshotStore

    func readFile(_ path: String, range: Range<Int64>?, of chain: LayerChain) throws -> [UInt8] {
        let resolved = try resolve(path, verb: "open", in: chain)
        guard case .file(let size, _) = resolved.node.kind else {
            throw BuildError("read \(path): is not a regular file")
        }
        let length = Int64(size)
        let start = max(0, min(length, range?.lowerBound ?? 0))
        let end = max(start, min(length, range?.upperBound ?? length))
        guard end - start <= Self.fileBytesMax else {
            throw BuildError("read \(path): \(end - start) bytes, at most \(Self.fileBytesMax) are read at once")
        }
        guard end > start else { return [] }
        let view = try snapshots.view(of: chain)
        defer { view.release() }
        let name = resolved.components.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
        guard let file = FileHandle(forReadingAtPath: view.path + "/" + name) else {
            throw BuildError("open \(path): \(String(cString: strerror(errno)).lowercased())")
        }
        defer { try? file.close() }
        try file.seek(toOffset: UInt64(start))
        return [UInt8](try file.read(upToCount: Int(end - start)) ?? Data())
    }

    private func resolve(_ path: String, verb: String, in chain: LayerChain) throws -> MergedTree.Resolved {
        do {
            return try snapshots.tree(of: chain).resolve(Array(path.utf8), followsLast: true)
        } catch is TreeError {
            throw BuildError("\(verb) \(path): no such file or directory")
        }
    }

    func stat(_ path: String, of chain: LayerChain) throws -> FileStat {
        let tree = try snapshots.tree(of: chain)
        let components = path.split(separator: "/")
        guard let node = components.isEmpty ? tree.root : tree.lookup(path) else {
            throw BuildError("lstat \(path): no such file or directory")
        }
        return Self.stat(node, name: components.last.map(String.init) ?? "/")
    }

    /// Whether the path names something in the tree.
    func exists(_ path: String, in chain: LayerChain) throws -> Bool {
        try snapshots.tree(of: chain).lookup(path) != nil
    }

    func list(_ path: String, pattern: String?, of chain: LayerChain) throws -> [FileStat] {
        let directory = try resolve(path, verb: "readdir", in: chain)
        let matcher = try pattern.flatMap { $0.isEmpty ? nil : try GoPattern($0) }
        return directory.node.children.compactMap { child -> FileStat? in
            let name = String(decoding: child.name, as: UTF8.self)
            guard matcher?.matches(name) ?? true else { return nil }
            return Self.stat(child.node, name: name)
        }.sorted { $0.path < $1.path }
    }

    private static func stat(_ node: MergedTree.Node, name: String) -> FileStat {
        let entry = node.entry
        var stat = FileStat(path: name, mode: UInt32(entry.mode))
        stat.uid = entry.uid
        stat.gid = entry.gid
        stat.modified = entry.modified.nanosecondsSince1970
        for attribute in entry.attributes {
            stat.xattrs[String(decoding: attribute.name, as: UTF8.self)] = attribute.value
        }
        switch node.kind {
        case .directory: stat.mode |= S_IFDIR
        case .file(let size, _):
            stat.mode |= S_IFREG
            stat.size = Int64(size)
        case .symlink(let target):
            stat.mode |= S_IFLNK
            stat.linkName = String(decoding: target, as: UTF8.self)
            stat.size = Int64(target.count)
        case .characterDevice(let major, let minor):
            stat.mode |= S_IFCHR
            (stat.deviceMajor, stat.deviceMinor) = (Int64(major), Int64(minor))
        case .blockDevice(let major, let minor):
            stat.mode |= S_IFBLK
            (stat.deviceMajor, stat.deviceMinor) = (Int64(major), Int64(minor))
        case .fifo: stat.mode |= S_IFIFO
        case .hardlink, .whiteout: stat.mode |= S_IFREG
        }
        return stat
    }
}
