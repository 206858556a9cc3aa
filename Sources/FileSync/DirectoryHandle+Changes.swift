internal import CLinux
internal import Glibc

extension DirectoryHandle {
    private func check(_ result: Int32, _ call: String, _ name: String) throws(FileSyncError) {
        guard result == 0 else { throw .last(call, SyncPath.join(path, name)) }
    }

    func makeDirectory(_ name: String) throws(FileSyncError) {
        try check(mkdirat(descriptor, name, 0o700), "mkdir", name)
    }

    func makeSymlink(_ name: String, to target: String) throws(FileSyncError) {
        try check(symlinkat(target, descriptor, name), "symlink", name)
    }

    /// Makes a fifo or device with the type bits of `mode`.
    func makeNode(_ name: String, mode: UInt32, device: dev_t) throws(FileSyncError) {
        try check(mknodat(descriptor, name, (mode & S_IFMT) | 0o600, device), "mknod", name)
    }

    func makeLink(_ name: String, to target: String, in directory: DirectoryHandle) throws(FileSyncError) {
        try check(linkat(directory.descriptor, target, descriptor, name, 0), "link", name)
    }

    func rename(_ name: String, to other: String) throws(FileSyncError) {
        try check(renameat(descriptor, name, descriptor, other), "rename", other)
    }

    func unlink(_ name: String) throws(FileSyncError) {
        try check(unlinkat(descriptor, name, 0), "unlink", name)
    }

    func setOwner(_ name: String, uid: uid_t, gid: gid_t) throws(FileSyncError) {
        try check(fchownat(descriptor, name, uid, gid, AT_SYMLINK_NOFOLLOW), "chown", name)
    }

    /// Sets the permission bits of an entry that is no symbolic link and was made or checked by the caller.
    func setMode(_ name: String, _ mode: UInt32) throws(FileSyncError) {
        try check(fchmodat(descriptor, name, mode & 0o7777, 0), "chmod", name)
    }

    func setModified(_ name: String, nanoseconds: Int64) throws(FileSyncError) {
        var times = [timespec(tv_sec: 0, tv_nsec: timespec.keep), timespec(nanoseconds: nanoseconds)]
        try check(utimensat(descriptor, name, &times, AT_SYMLINK_NOFOLLOW), "utimensat", name)
    }

    /// Sets extended attributes as far as the file system and our rights allow.
    ///
    /// `trusted.*` never: such names carry meaning for overlayfs, and this tree may become one of its layers.
    func setExtendedAttributes(_ name: String, _ attributes: [String: [UInt8]]) {
        for (key, value) in attributes where !key.hasPrefix("trusted.") && !key.hasPrefix("user.overlay.") {
            _ = value.withUnsafeBytes { lsetxattr(processPath(name), key, $0.baseAddress, $0.count, 0) }
        }
    }

    /// Every readable extended attribute of an entry except macOS's own.
    func extendedAttributes(_ name: String) -> [String: [UInt8]] {
        let path = processPath(name)
        let size = llistxattr(path, nil, 0)
        guard size > 0 else { return [:] }
        var list = [UInt8](repeating: 0, count: size)
        let count = list.withUnsafeMutableBytes {
            llistxattr(path, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
        var attributes: [String: [UInt8]] = [:]
        for key in list.prefix(max(0, count)).split(separator: 0) {
            guard let key = String(validating: key, as: UTF8.self), !key.hasPrefix("com.apple.") else { continue }
            var value = [UInt8](repeating: 0, count: max(0, lgetxattr(path, key, nil, 0)))
            let length = value.withUnsafeMutableBytes { lgetxattr(path, key, $0.baseAddress, $0.count) }
            if length >= 0 { attributes[key] = Array(value.prefix(length)) }
        }
        return attributes
    }

    /// Removes an entry and, of a directory, all below it.
    ///
    /// Directories are emptied in place, without recursion.
    func removeTree(_ name: [UInt8]) throws(FileSyncError) {
        var open: [(handle: DirectoryHandle, name: [UInt8])] = [(self, name)]
        // Each step removes the last one or, where it is a directory with content, goes down into it.
        while let (parent, target) = open.last {
            if try parent.removeOne(target) {
                open.removeLast()
                continue
            }
            let directory = try parent.openDirectory(bytes: target)
            for child in try directory.names() { open.append((directory, child)) }
        }
    }

    /// Removes a file or an empty directory; false for a directory that is not empty.
    private func removeOne(_ name: [UInt8]) throws(FileSyncError) -> Bool {
        let path = name + [0]
        let result = path.withUnsafeBytes { bytes -> Int32 in
            guard let text = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return -1 }
            if unlinkat(descriptor, text, 0) == 0 || errno == ENOENT { return 0 }
            guard errno == EISDIR || errno == EPERM else { return -1 }
            return unlinkat(descriptor, text, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1
        }
        if result == 0 { return true }
        guard errno == ENOTEMPTY || errno == EEXIST else {
            throw .last("remove", SyncPath.join(self.path, String(decoding: name, as: UTF8.self)))
        }
        return false
    }
}

extension OpenFile {
    /// Sets owner, permission bits and time of modification, in the order in which the kernel keeps them.
    func setMetadata(uid: uid_t, gid: gid_t, mode: UInt32, nanoseconds: Int64) throws(FileSyncError) {
        guard fchown(descriptor, uid, gid) == 0 else { throw .last("chown", path) }
        guard fchmod(descriptor, mode & 0o7777) == 0 else { throw .last("chmod", path) }
        try setModified(nanoseconds)
    }

    func setModified(_ nanoseconds: Int64) throws(FileSyncError) {
        var times = [timespec(tv_sec: 0, tv_nsec: timespec.keep), timespec(nanoseconds: nanoseconds)]
        guard futimens(descriptor, &times) == 0 else { throw .last("futimens", path) }
    }
}

extension timespec {
    /// `UTIME_OMIT` of utimensat(2), a macro that Swift does not see: this time stays as it is.
    static let keep = (1 << 30) - 2

    init(nanoseconds: Int64) {
        let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        self.init(tv_sec: Int(rest < 0 ? seconds - 1 : seconds), tv_nsec: Int(rest < 0 ? rest + 1_000_000_000 : rest))
    }

    var nanoseconds: Int64 { Int64(tv_sec) &* 1_000_000_000 &+ Int64(tv_nsec) }
}
