internal import BuildSession
internal import CLinux
internal import Glibc

/// Writes the tree below a directory as tar entries, in path order, hard links as links.
struct TreeArchive: Sendable {
    private static let pieceBytes = 1 << 20
    /// Deepest directory that is walked; a path of that depth exceeds PATH_MAX on its own.
    private static let depthMax = 2048

    let root: String
    /// Directory of the archive that the tree goes to; empty is its root.
    let prefix: String

    private struct FileID: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    func write(to sink: any ByteSink) async throws {
        var links: [FileID: [UInt8]] = [:]
        if !prefix.isEmpty {
            try await sink.write(
                TarHeader(path: Array(prefix.utf8) + [UInt8(ascii: "/")], kind: .directory, mode: 0o755).encoded)
        }
        try await directory(path: [], links: &links, depth: 0, to: sink)
    }

    private func directory(
        path: [UInt8], links: inout [FileID: [UInt8]], depth: Int, to sink: any ByteSink
    ) async throws {
        try Task.checkCancellation()
        guard depth < Self.depthMax else {
            throw ExportError.file(Self.text(path), "directories are nested too deeply")
        }
        for name in try names(in: path) {
            let child = path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
            if try await entry(child, links: &links, to: sink) {
                try await directory(path: child, links: &links, depth: depth + 1, to: sink)
            }
        }
    }

    /// Writes one entry; true when it is a directory.
    private func entry(
        _ path: [UInt8], links: inout [FileID: [UInt8]], to sink: any ByteSink
    ) async throws -> Bool {
        let full = Self.cPath(root, path)
        var status = stat()
        guard lstat(full, &status) == 0 else { throw Self.failure(path) }
        let archived = prefix.isEmpty ? path : Array(prefix.utf8) + [UInt8(ascii: "/")] + path
        guard var header = Self.header(archived, status) else { return false }
        header.uid = status.st_uid
        header.gid = status.st_gid
        header.modified = Int64(status.st_mtim.tv_sec)
        header.xattrs = try Self.xattrs(full, path)
        if header.kind == .symlink { header.linkName = try Self.linkTarget(full, path) }
        let id = FileID(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        if header.kind != .directory, status.st_nlink > 1 {
            if let first = links[id] {
                header.kind = .hardlink
                header.linkName = first
                header.size = 0
                header.xattrs = []
            } else {
                links[id] = archived
            }
        }
        try await sink.write(header.encoded)
        if header.kind == .file { try await content(full, path, size: header.size, to: sink) }
        return header.kind == .directory
    }

    /// The header by file type; nil for sockets, which tar can't hold.
    private static func header(_ path: [UInt8], _ status: stat) -> TarHeader? {
        let mode = status.st_mode & 0o7777
        switch status.st_mode & S_IFMT {
        case S_IFDIR: return TarHeader(path: path + [UInt8(ascii: "/")], kind: .directory, mode: mode)
        case S_IFREG:
            var header = TarHeader(path: path, kind: .file, mode: mode)
            header.size = Int64(status.st_size)
            return header
        case S_IFLNK: return TarHeader(path: path, kind: .symlink, mode: 0o777)
        case S_IFIFO: return TarHeader(path: path, kind: .fifo, mode: mode)
        case S_IFCHR, S_IFBLK:
            let isCharacter = status.st_mode & S_IFMT == S_IFCHR
            var header = TarHeader(path: path, kind: isCharacter ? .characterDevice : .blockDevice, mode: mode)
            header.major = linux_device_major(UInt64(status.st_rdev))
            header.minor = linux_device_minor(UInt64(status.st_rdev))
            return header
        default: return nil
        }
    }

    private func content(_ full: [CChar], _ path: [UInt8], size: Int64, to sink: any ByteSink) async throws {
        let file = open(full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else { throw Self.failure(path) }
        defer { close(file) }
        var left = size
        while left > 0 {
            let wanted = Int(min(Int64(Self.pieceBytes), left))
            let piece = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
                count = max(0, read(file, buffer.baseAddress, wanted))
            }
            guard !piece.isEmpty else { throw ExportError.file(Self.text(path), "it ended early") }
            left -= Int64(piece.count)
            try await sink.write(piece)
        }
        let padding = TarHeader.padding(for: size)
        if !padding.isEmpty { try await sink.write(padding) }
    }

    private func names(in path: [UInt8]) throws -> [[UInt8]] {
        guard let directory = opendir(Self.cPath(root, path)) else { throw Self.failure(path) }
        defer { closedir(directory) }
        var names: [[UInt8]] = []
        while let record = readdir(directory) {
            let name = withUnsafeBytes(of: record.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [UInt8(ascii: ".")], name != Array("..".utf8) { names.append(name) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static func linkTarget(_ full: [CChar], _ path: [UInt8]) throws -> [UInt8] {
        var length = 0
        let target = [UInt8](unsafeUninitializedCapacity: Int(PATH_MAX)) { buffer, count in
            length = buffer.withMemoryRebound(to: CChar.self) { text in
                text.baseAddress.map { readlink(full, $0, text.count) } ?? -1
            }
            count = max(0, length)
        }
        guard length >= 0 else { throw failure(path) }
        return target
    }

    /// The extended attributes that belong to the file; overlayfs's own are left out.
    private static func xattrs(_ full: [CChar], _ path: [UInt8]) throws -> [(name: [UInt8], value: [UInt8])] {
        let length = linux_llistxattr(full, nil, 0)
        if length <= 0 { return [] }
        var list = [CChar](repeating: 0, count: length)
        let filled = linux_llistxattr(full, &list, list.count)
        guard filled >= 0 else { throw failure(path) }
        var result: [(name: [UInt8], value: [UInt8])] = []
        for part in list.prefix(filled).split(separator: 0) {
            let name = part.map { UInt8(bitPattern: $0) }
            if name.starts(with: Array("trusted.overlay.".utf8)) { continue }
            let cName = Array(part) + [0]
            let size = linux_lgetxattr(full, cName, nil, 0)
            guard size >= 0 else { throw failure(path) }
            var value = [UInt8](repeating: 0, count: size)
            let got = linux_lgetxattr(full, cName, &value, value.count)
            guard got >= 0 else { throw failure(path) }
            result.append((name, Array(value.prefix(got))))
        }
        return result.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    private static func cPath(_ root: String, _ path: [UInt8]) -> [CChar] {
        (Array(root.utf8) + [UInt8(ascii: "/")] + path + [0]).map { CChar(bitPattern: $0) }
    }

    private static func text(_ path: [UInt8]) -> String { "/" + String(decoding: path, as: UTF8.self) }

    private static func failure(_ path: [UInt8]) -> ExportError {
        .file(text(path), String(cString: strerror(errno)))
    }
}
