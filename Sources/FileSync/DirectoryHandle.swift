internal import CLinux
internal import Glibc

/// An open directory; every call names one entry in it and follows no symbolic link.
///
/// The descriptor is closed when the last reference goes.
final class DirectoryHandle: Sendable {
    let descriptor: Int32
    /// Relative to the root; for messages.
    let path: String

    private init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    /// Opens the root of a tree; the root itself may be reached through symbolic links.
    static func openRoot(_ path: String) throws(FileSyncError) -> DirectoryHandle {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last("open", path) }
        return DirectoryHandle(descriptor: descriptor, path: "")
    }

    /// Opens a directory below this one, through directories only.
    func openDirectory(_ relative: String) throws(FileSyncError) -> DirectoryHandle {
        let target = relative.isEmpty ? "." : relative
        let result = pb_open_beneath(descriptor, target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0)
        let full = SyncPath.join(path, relative)
        guard result >= 0 else { throw .system(call: "open", path: full, code: -result) }
        return DirectoryHandle(descriptor: result, path: full)
    }

    /// Opens a directory in this one by a name that need not be UTF-8.
    func openDirectory(bytes name: [UInt8]) throws(FileSyncError) -> DirectoryHandle {
        let full = SyncPath.join(path, String(decoding: name, as: UTF8.self))
        let result = (name + [0]).withUnsafeBytes { bytes in
            pb_open_beneath(
                descriptor, bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0)
        }
        guard result >= 0 else { throw .system(call: "open", path: full, code: -result) }
        return DirectoryHandle(descriptor: result, path: full)
    }

    /// Opens a file below this directory for reading; a device or fifo does not block.
    func openFile(_ relative: String) throws(FileSyncError) -> OpenFile {
        let result = pb_open_beneath(descriptor, relative, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0)
        guard result >= 0 else {
            throw .system(call: "open", path: SyncPath.join(path, relative), code: -result)
        }
        return OpenFile(descriptor: result, path: SyncPath.join(path, relative))
    }

    /// Makes a new file that only its owner can use.
    func createFile(_ name: String) throws(FileSyncError) -> OpenFile {
        let result = pb_open_beneath(descriptor, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
        guard result >= 0 else { throw .system(call: "create", path: SyncPath.join(path, name), code: -result) }
        return OpenFile(descriptor: result, path: SyncPath.join(path, name))
    }

    /// Metadata of an entry itself; nil when there is none.
    func stat(_ name: String) throws(FileSyncError) -> Glibc.stat? {
        var result = Glibc.stat()
        if fstatat(descriptor, name, &result, AT_SYMLINK_NOFOLLOW) == 0 { return result }
        guard errno == ENOENT else { throw .last("lstat", SyncPath.join(path, name)) }
        return nil
    }

    /// The names in the directory as bytes, without `.` and `..`, in no order.
    func names() throws(FileSyncError) -> [[UInt8]] {
        // A stream of its own: reading must start at the beginning and closing takes the descriptor along.
        let copy = pb_open_beneath(descriptor, ".", O_RDONLY | O_DIRECTORY, 0)
        guard copy >= 0 else { throw .system(call: "open", path: path, code: -copy) }
        guard let stream = fdopendir(copy) else {
            close(copy)
            throw .last("readdir", path)
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else { throw .last("readdir", path) }
                return names
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [46], name != [46, 46] { names.append(name) }
        }
    }

    func readLink(_ name: String) throws(FileSyncError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: SyncPath.bytesMax + 1)
        let count = buffer.withUnsafeMutableBytes { bytes -> Int in
            guard let text = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return -1 }
            return readlinkat(descriptor, name, text, bytes.count)
        }
        guard count >= 0 else { throw .last("readlink", SyncPath.join(path, name)) }
        return Array(buffer.prefix(count))
    }

    /// A path to an entry that needs no resolution beyond this descriptor, for calls without an `at` form.
    func processPath(_ name: String) -> String { "/proc/self/fd/\(descriptor)/\(name)" }
}

/// An open file, closed when the last reference goes.
final class OpenFile: Sendable {
    let descriptor: Int32
    let path: String

    init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    /// Reads up to `count` bytes; empty at the end.
    func read(upTo count: Int) throws(FileSyncError) -> [UInt8] {
        while true {
            var result = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                result = Glibc.read(descriptor, buffer.baseAddress, count)
                filled = max(0, result)
            }
            if result >= 0 { return bytes }
            guard errno == EINTR else { throw .last("read", path) }
        }
    }

    func write(_ bytes: some Collection<UInt8>) throws(FileSyncError) {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw .last("write", path)
            }
        }
    }
}
