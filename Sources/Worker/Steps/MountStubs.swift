internal import CLinux
internal import Glibc

/// Files and directories that are made only so that something can be mounted on them, and removed after the step.
///
/// A directory that got one has its mtime restored if nothing else changed it, so that results stay the same bytes.
struct MountStubs {
    private struct Stub {
        let tree: RootedTree
        let location: RootedTree.Location
        let isRemovable: Bool
        /// Modification times of the parent before and after the stub was made.
        let parentBefore: timespec
        let parentAfter: timespec
    }

    private var stubs: [Stub] = []

    /// Makes the mount point `path` in the tree if it is missing.
    ///
    /// `removesParents` says whether parent directories made on the way are removed again too.
    mutating func add(
        _ path: String, isDirectory: Bool, in tree: RootedTree, removesParents: Bool
    ) throws(OperationError) {
        let location = try tree.resolve(path)
        guard !location.exists else { return }
        for count in (location.existing + 1)...location.components.count {
            let part = RootedTree.Location(components: Array(location.components[..<count]), existing: count)
            let isLast = count == location.components.count
            try make(part, isDirectory: isDirectory || !isLast, in: tree, isRemovable: isLast || removesParents)
        }
    }

    private mutating func make(
        _ location: RootedTree.Location, isDirectory: Bool, in tree: RootedTree, isRemovable: Bool
    ) throws(OperationError) {
        guard let name = location.components.last else { return }
        let parent = RootedTree.Location(components: location.components.dropLast(), existing: 0)
        let directory = try tree.open(parent, O_RDONLY | O_DIRECTORY)
        let before = Self.modified(directory)
        let text = name.map { CChar(bitPattern: $0) } + [0]
        if isDirectory {
            guard mkdirat(directory.number, text, 0o755) == 0 else {
                throw .system(call: "mkdir \(location.text)", code: errno)
            }
        } else {
            let number = openat(directory.number, text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
            guard number >= 0 else { throw .system(call: "create \(location.text)", code: errno) }
            close(number)
        }
        stubs.append(
            Stub(
                tree: tree, location: location, isRemovable: isRemovable, parentBefore: before,
                parentAfter: Self.modified(directory)))
    }

    /// Removes what is still an empty file or directory, the last made first.
    func remove() {
        for stub in stubs.reversed() where stub.isRemovable {
            guard let name = stub.location.components.last, let status = stub.tree.status(stub.location) else {
                continue
            }
            let parent = RootedTree.Location(components: stub.location.components.dropLast(), existing: 0)
            guard let directory = try? stub.tree.open(parent, O_RDONLY | O_DIRECTORY) else { continue }
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            guard isDirectory || (status.st_mode & S_IFMT == S_IFREG && status.st_size == 0) else { continue }
            let now = Self.modified(directory)
            let text = name.map { CChar(bitPattern: $0) } + [0]
            // A directory with entries stays: rmdir refuses it.
            guard unlinkat(directory.number, text, isDirectory ? Int32(AT_REMOVEDIR) : 0) == 0 else { continue }
            let isUntouched = now.tv_sec == stub.parentAfter.tv_sec && now.tv_nsec == stub.parentAfter.tv_nsec
            let restored = isUntouched ? stub.parentBefore : now
            let times = [timespec(tv_sec: 0, tv_nsec: clinux_utime_omit), restored]
            _ = times.withUnsafeBufferPointer { futimens(directory.number, $0.baseAddress) }
        }
    }

    private static func modified(_ directory: FileDescriptor) -> timespec {
        var status = stat()
        fstat(directory.number, &status)
        return status.st_mtim
    }
}
