internal import CLinux
internal import Glibc

/// The raw names in a directory, in byte order, without `.` and `..`.
func names(in directory: borrowing FileDescriptor, _ path: @autoclosure () -> String) throws(SnapshotError) -> [[UInt8]]
{
    var names: [[UInt8]] = []
    let size = 64 << 10
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
    defer { buffer.deallocate() }
    guard lseek(directory.raw, 0, SEEK_SET) >= 0 else { throw .last("lseek", path()) }
    while true {
        let count = linux_getdents(directory.raw, buffer.baseAddress, size)
        guard count >= 0 else { throw .last("getdents64", path()) }
        if count == 0 { break }
        var offset = 0
        while offset < count {
            // struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name.
            let length = Int(buffer.loadUnaligned(fromByteOffset: offset + 16, as: UInt16.self))
            let name = [UInt8](buffer[(offset + 19)..<(offset + length)].prefix { $0 != 0 })
            if name != [46], name != [46, 46] { names.append(name) }
            offset += length
        }
    }
    names.sort { $0.lexicographicallyPrecedes($1) }
    return names
}

/// Deletes all below and including `path`, which is ours; nothing is followed.
///
/// Returns the first failure's `errno`, or 0.
@discardableResult
func removeTree(_ path: String) -> Int32 {
    if unlink(path) == 0 || errno == ENOENT { return 0 }
    let slash = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
    let parentPath = slash == path.startIndex ? "." : String(path[..<slash])
    guard let parent = try? FileDescriptor.open(parentPath, O_RDONLY | O_DIRECTORY) else { return errno }
    return removeTree(Array(path[slash...].utf8), in: parent)
}

/// Deletes `name` in `parent` with all below it.
func removeTree(_ name: [UInt8], in parent: borrowing FileDescriptor) -> Int32 {
    let descriptor = parent.raw
    if withCPath(name, { unlinkat(descriptor, $0, 0) }) == 0 || errno == ENOENT { return 0 }
    guard errno == EISDIR || errno == EPERM || errno == EBUSY else { return errno }
    let raw = withCPath(name) { openat(descriptor, $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
    guard raw >= 0 else { return errno }
    let directory = FileDescriptor(raw: raw)
    var failure: Int32 = 0
    for child in (try? names(in: directory, "")) ?? [] {
        let code = removeTree(child, in: directory)
        if failure == 0 { failure = code }
    }
    let code = withCPath(name, { unlinkat(descriptor, $0, AT_REMOVEDIR) }) == 0 ? 0 : errno
    return failure == 0 ? code : failure
}
