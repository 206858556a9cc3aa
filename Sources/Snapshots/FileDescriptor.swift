internal import CLinux
internal import ContentStore
internal import Glibc

/// An open file that is closed when its owner goes away.
struct FileDescriptor: ~Copyable {
    let raw: Int32

    init(raw: Int32) { self.raw = raw }

    deinit { close(raw) }

    /// Hands the descriptor over: the caller closes it.
    consuming func release() -> Int32 {
        let raw = raw
        discard self
        return raw
    }

    /// Opens a path of ours, which no step can have put a link into.
    static func open(_ path: String, _ flags: Int32, mode: mode_t = 0) throws(SnapshotError) -> FileDescriptor {
        let raw = Glibc.open(path, flags | O_CLOEXEC, mode)
        guard raw >= 0 else { throw .last("open", path) }
        return FileDescriptor(raw: raw)
    }

    /// Opens a directory of ours.
    static func directory(_ path: String) throws(SnapshotError) -> FileDescriptor {
        try open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    }

    /// Opens a directory below this one; no link is followed and `..` refused.
    ///
    /// An empty path is this directory.
    func directory(beneath path: some Collection<UInt8>) throws(SnapshotError) -> FileDescriptor {
        try file(beneath: path, O_RDONLY | O_DIRECTORY)
    }

    /// Opens what is at `path` below this directory; no link is followed and `..` refused.
    func file(
        beneath path: some Collection<UInt8>, _ flags: Int32, mode: mode_t = 0
    ) throws(SnapshotError) -> FileDescriptor {
        let raw = withCPath(path.isEmpty ? [UInt8(ascii: ".")] : [UInt8](path)) {
            linux_open_beneath(self.raw, $0, flags, mode)
        }
        guard raw >= 0 else { throw .last("openat2", display(path)) }
        return FileDescriptor(raw: raw)
    }

    /// A path for the calls that take no descriptor; its last component is not followed by `l...` calls.
    func procPath(_ name: some Collection<UInt8>) -> [UInt8] {
        Array("/proc/self/fd/\(raw)/".utf8) + [UInt8](name)
    }

    func sync(_ path: String, _ disk: DiskCalls) throws(SnapshotError) {
        guard disk.sync(raw) == 0 else { throw .last("fsync", path) }
    }

    /// Writes all of `bytes` at the cursor.
    func write(_ bytes: UnsafeRawBufferPointer, _ path: @autoclosure () -> String) throws(SnapshotError) {
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(raw, bytes.baseAddress?.advanced(by: done), bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .last("write", path()) }
            done += count
        }
    }

    /// Reads up to `buffer.count` bytes at `offset`; 0 at the end.
    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: Int64, _ path: @autoclosure () -> String
    ) throws(SnapshotError) -> Int {
        while true {
            let count = pread(raw, buffer.baseAddress, buffer.count, off_t(offset))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .last("pread", path()) }
            return count
        }
    }
}

/// Calls `body` with `path` as a C string.
func withCPath<Result>(_ path: some Collection<UInt8>, _ body: (UnsafePointer<CChar>) -> Result) -> Result {
    var text = path.map { CChar(bitPattern: $0) }
    text.append(0)
    return text.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { preconditionFailure("a C string has its zero byte at least") }
        return body(base)
    }
}

/// A raw path for people.
func display(_ path: some Collection<UInt8>) -> String { "/" + String(decoding: path, as: UTF8.self) }

/// Makes a directory of ours; one that is there is fine.
func makeDirectory(_ path: String, mode: mode_t = 0o700) throws(SnapshotError) {
    guard mkdir(path, mode) == 0 || errno == EEXIST else { throw .last("mkdir", path) }
}

/// Makes the names in a directory durable.
func syncDirectory(_ path: String, _ disk: DiskCalls) throws(SnapshotError) {
    try FileDescriptor.directory(path).sync(path, disk)
}
