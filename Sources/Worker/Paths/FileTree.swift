internal import Glibc

/// Removal of whole trees by path, for directories that only this node writes to.
enum FileTree {
    /// Removes a tree; links are removed, not followed, and other mounts are not entered.
    static func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        removeEntry(path, device: status.st_dev)
    }

    private static func removeEntry(_ path: String, device: dev_t) {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_dev == device else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            unlink(path)
            return
        }
        for name in DirectoryListing.names(path) ?? [] { removeEntry("\(path)/\(name)", device: device) }
        rmdir(path)
    }
}
