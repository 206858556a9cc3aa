internal import CLinux
internal import Glibc

/// A directory that stands for `/`: no path, link or `..` in it leads out.
///
/// Paths are resolved by `openat2` with RESOLVE_IN_ROOT, or component by component where the tail may be missing.
final class RootedTree: Sendable {
    /// Symbolic links followed in one resolution; Linux' own bound (path_resolution(7)).
    static let linksMax = 40

    let directory: FileDescriptor
    let path: String

    init(_ path: String) throws(OperationError) {
        self.path = path
        let number = Glibc.open(path, clinux_o_path | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw .system(call: "open \(path)", code: errno) }
        directory = FileDescriptor(number)
    }

    /// A path inside the tree without symbolic links, and how much of it is there.
    struct Location: Hashable {
        /// Component names, raw bytes; empty is the root.
        var components: [[UInt8]]
        /// Leading components that exist.
        var existing: Int

        var exists: Bool { existing == components.count }
        var text: String { "/" + components.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/") }
        /// Relative to the root, as `openat` takes it.
        var relative: [CChar] { Self.relative(components) }

        static func relative(_ components: some Collection<[UInt8]>) -> [CChar] {
            let bytes =
                components.isEmpty ? [UInt8(ascii: ".")] : Array(components.joined(separator: [UInt8(ascii: "/")]))
            return bytes.map { CChar(bitPattern: $0) } + [0]
        }

        func appending(_ name: [UInt8]) -> Location {
            Location(components: components + [name], existing: existing)
        }
    }

    /// Opens a path, following links inside the tree.
    func open(_ path: String, _ flags: Int32, mode: UInt32 = 0) throws(OperationError) -> FileDescriptor {
        let result = clinux_open_in(directory.number, path, UInt64(flags), UInt64(mode), clinux_resolve_confined)
        return try FileDescriptor.checked(result, "open \(path)")
    }

    /// Opens a resolved location; a link that has appeared in it since is refused.
    func open(_ location: Location, _ flags: Int32, mode: UInt32 = 0) throws(OperationError) -> FileDescriptor {
        let result = location.relative.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map {
                clinux_open_in(directory.number, $0, UInt64(flags), UInt64(mode), clinux_resolve_confined_no_links)
            } ?? -EINVAL
        }
        return try FileDescriptor.checked(result, "open \(location.text)")
    }

    /// Resolves a path that need not exist.
    ///
    /// Links are followed, the last component's only if `followsLast`.
    func resolve(_ path: String, followsLast: Bool = true) throws(OperationError) -> Location {
        try resolve(Array(path.utf8), followsLast: followsLast, shown: path)
    }

    func resolve(_ path: [UInt8], followsLast: Bool, shown: String) throws(OperationError) -> Location {
        var pending = Self.split(path).reversed() as [[UInt8]]
        var components: [[UInt8]] = []
        var existing = 0
        var links = 0
        while let name = pending.popLast() {
            if name == [UInt8(ascii: ".")] { continue }
            if name == Array("..".utf8) {
                if !components.isEmpty { components.removeLast() }
                existing = min(existing, components.count)
                continue
            }
            components.append(name)
            guard existing == components.count - 1, let status = status(components) else { continue }
            let type = status.st_mode & S_IFMT
            if type == S_IFLNK, followsLast || !pending.isEmpty {
                links += 1
                guard links <= Self.linksMax else { throw .system(call: "resolve \(shown)", code: ELOOP) }
                let target = try readLink(components)
                components.removeLast()
                if target.first == UInt8(ascii: "/") { components = [] }
                existing = components.count
                pending += Self.split(target).reversed()
                continue
            }
            existing = components.count
        }
        return Location(components: components, existing: existing)
    }

    /// Status of a location, not following a link; nil when it does not exist.
    func status(_ location: Location) -> stat? { status(location.components) }

    private func status(_ components: [[UInt8]]) -> stat? {
        var status = stat()
        let flags = AT_SYMLINK_NOFOLLOW
        let code = Location.relative(components).withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map { fstatat(directory.number, $0, &status, flags) } ?? -1
        }
        return code == 0 ? status : nil
    }

    private func readLink(_ components: [[UInt8]]) throws(OperationError) -> [UInt8] {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let name = Location.relative(components)
        let length = readlinkat(directory.number, name, &buffer, buffer.count)
        guard length >= 0 else {
            throw .system(call: "readlink \(Location(components: components, existing: 0).text)", code: errno)
        }
        return buffer[..<length].map { UInt8(bitPattern: $0) }
    }

    private static func split(_ path: [UInt8]) -> [[UInt8]] {
        path.split(separator: UInt8(ascii: "/")).map(Array.init)
    }

    /// The whole content of a small file, following links inside the tree; nil when there is none.
    func readFile(_ path: String, bytesMax: Int) throws(OperationError) -> [UInt8]? {
        let file: FileDescriptor
        do {
            // Not blocking: a FIFO of that name must not hang us.
            file = try open(path, O_RDONLY | O_NONBLOCK)
        } catch .system(_, let code) where code == ENOENT || code == ENOTDIR {
            return nil
        }
        return try file.readAll(bytesMax: bytesMax, name: path)
    }
}
