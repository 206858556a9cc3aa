internal import CLinux
internal import Glibc
internal import OCI
internal import Synchronization
internal import Transfer

/// Turns a directory on disk into the entries of a layer.
///
/// No link is followed.
struct TreeScanner {
    enum Form {
        /// The upper directory of an overlay, unmounted: whiteouts and opaque marks have their meaning, and overlayfs'
        /// other attributes are removed from the disk.
        case overlayUpper
        /// Any directory.
        case plain
    }

    struct Inode: Hashable {
        var device: UInt64
        var number: UInt64
    }

    let form: Form
    /// Whether a path belongs to the layer; a directory that does not is not entered.
    var filter: (([UInt8], _ isDirectory: Bool) -> Bool)?
    /// Digests known from an earlier scan.
    var known = FileDigests()

    private(set) var entries: [LayerEntry] = []
    /// Digests of all files of this scan, for the next.
    private(set) var digests = FileDigests()
    /// Sockets, which no layer can hold.
    private(set) var sockets: [[UInt8]] = []
    /// Files that were read because no digest was known.
    private(set) var filesRead = 0
    /// Entries by inode, for files with several names.
    private var groups: [Inode: [Int]] = [:]
    /// Files whose content is not known yet: they are read when all names are, on all processors.
    private var unread: [Unread] = []
    /// Entries that have the content of an unread file, another name of which was met before.
    private var unreadNames: [FileDigests.Stamp: [Int]] = [:]

    private struct Unread: Sendable {
        var entry: Int
        var path: [UInt8]
        var size: Int64
        var stamp: FileDigests.Stamp
    }

    /// Longer files are hashed one after the other, each on all processors; shorter ones beside each other.
    private static let largeBytes: Int64 = 16 << 20

    init(form: Form) { self.form = form }

    /// Scans all below `root`; the root's own entry is the last one.
    mutating func scan(_ root: borrowing FileDescriptor) throws(SnapshotError) {
        var pending: [[UInt8]] = [[]]
        while let path = pending.popLast() {
            let directory = try root.directory(beneath: path)
            for name in try names(in: directory, display(path)) {
                let childPath = path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
                guard childPath.count <= LayerManifest.pathBytesMax else {
                    throw .unsupported(path: display(childPath), "its path is longer than 4,095 bytes")
                }
                if try scan(name, at: childPath, in: directory) { pending.append(childPath) }
            }
        }
        var status = stat()
        guard fstat(root.raw, &status) == 0 else { throw .last("fstat", "/") }
        entries.append(try entry(at: [], status, attributesOf: root.procPath([UInt8(ascii: ".")]), root))
        try readFiles(root)
        linkGroups()
    }

    /// Scans one name; returns whether it is a directory to be entered.
    private mutating func scan(
        _ name: [UInt8], at path: [UInt8], in directory: borrowing FileDescriptor
    ) throws(SnapshotError) -> Bool {
        var status = stat()
        let descriptor = directory.raw
        guard withCPath(name, { fstatat(descriptor, $0, &status, AT_SYMLINK_NOFOLLOW) }) == 0 else {
            throw .last("fstatat", display(path))
        }
        let type = status.st_mode & S_IFMT
        if let filter, !filter(path, type == S_IFDIR) { return false }
        if type == S_IFSOCK {
            sockets.append(path)
            return false
        }
        let entry = try entry(at: path, status, attributesOf: directory.procPath(name), directory)
        if case .file = entry.kind, status.st_nlink > 1 {
            let inode = Inode(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
            groups[inode, default: []].append(entries.count)
        }
        entries.append(entry)
        return type == S_IFDIR
    }

    private mutating func entry(
        at path: [UInt8], _ status: stat, attributesOf procPath: [UInt8], _ directory: borrowing FileDescriptor
    ) throws(SnapshotError) -> LayerEntry {
        let type = status.st_mode & S_IFMT
        if type == S_IFCHR, status.st_rdev == 0, form == .overlayUpper { return .whiteout(path) }
        let (attributes, isOpaque) = try attributes(at: procPath, path)
        let major = linux_device_major(UInt64(status.st_rdev))
        let minor = linux_device_minor(UInt64(status.st_rdev))
        let kind: LayerEntry.Kind
        switch type {
        case S_IFDIR: kind = .directory(isOpaque: isOpaque)
        case S_IFREG: kind = file(at: path, status)
        case S_IFLNK: kind = .symlink(target: try linkTarget(path, directory))
        case S_IFCHR: kind = .characterDevice(major: major, minor: minor)
        case S_IFBLK: kind = .blockDevice(major: major, minor: minor)
        case S_IFIFO: kind = .fifo
        default: throw .unsupported(path: display(path), "it is of a type that no layer can hold")
        }
        return LayerEntry(
            path: path, mode: type == S_IFLNK ? 0o777 : UInt16(status.st_mode & 0o7777), uid: status.st_uid,
            gid: status.st_gid,
            modified: FileTime(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: UInt32(status.st_mtim.tv_nsec)),
            attributes: attributes, kind: kind)
    }

    /// The file's content if it is known; else it is put down to be read.
    private mutating func file(at path: [UInt8], _ status: stat) -> LayerEntry.Kind {
        let size = Int64(status.st_size)
        let stamp = FileDigests.Stamp(status)
        if let content = digests[stamp] ?? known[stamp] {
            digests[stamp] = content
            return .file(size: size, content: content)
        }
        // Of a file with several names only the first is read.
        if unreadNames[stamp] == nil {
            unread.append(Unread(entry: entries.count, path: path, size: size, stamp: stamp))
        }
        unreadNames[stamp, default: []].append(entries.count)
        return .file(size: size, content: .empty)
    }

    /// Reads, cuts and hashes what is not known.
    private mutating func readFiles(_ root: borrowing FileDescriptor) throws(SnapshotError) {
        filesRead = unread.count
        guard !unread.isEmpty else { return }
        let files = unread
        let contents = Mutex([ChunkedContent?](repeating: nil, count: files.count))
        let raw = root.raw
        @Sendable func read(_ index: Int, _ hash: @escaping ContentCutter.HashRanges) throws(SnapshotError) {
            let file = files[index]
            let opened = withCPath(file.path) { linux_open_beneath(raw, $0, O_RDONLY | O_NONBLOCK, 0) }
            guard opened >= 0 else { throw .last("openat2", display(file.path)) }
            let content = try FileContent.chunked(
                FileDescriptor(raw: opened), size: file.size, file.path, hashing: hash)
            contents.withLock { $0[index] = content }
        }
        let small = files.indices.filter { files[$0].size < Self.largeBytes }
        // A few files at a time: one of a hundred bytes is not worth a turn.
        let batch = 16
        try ParallelWork.forEach((small.count + batch - 1) / batch) { turn throws(SnapshotError) in
            for index in small[(turn * batch)..<min(small.count, (turn + 1) * batch)] {
                try read(index, ContentCutter.hash)
            }
        }
        for index in files.indices where files[index].size >= Self.largeBytes { try read(index, ParallelWork.hash) }
        for (file, content) in zip(files, contents.withLock { $0 }) {
            guard let content else { preconditionFailure("\(display(file.path)) was not read") }
            digests[file.stamp] = content
            for entry in unreadNames[file.stamp] ?? [] {
                entries[entry].kind = .file(size: file.size, content: content)
            }
        }
    }

    private func linkTarget(_ path: [UInt8], _ directory: borrowing FileDescriptor) throws(SnapshotError) -> [UInt8] {
        let name = path[(path.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0)...]
        let descriptor = directory.raw
        var failed = false
        let target = [UInt8](unsafeUninitializedCapacity: LayerManifest.pathBytesMax + 1) { buffer, count in
            let length = buffer.withMemoryRebound(to: CChar.self) { text -> Int in
                guard let base = text.baseAddress else { return -1 }
                return withCPath(name) { readlinkat(descriptor, $0, base, text.count) }
            }
            failed = length < 0
            count = max(0, length)
        }
        if failed { throw .last("readlinkat", display(path)) }
        return target
    }

    /// The attributes that belong to the layer, and whether overlayfs' opaque mark is set.
    private func attributes(
        at procPath: [UInt8], _ path: [UInt8]
    ) throws(SnapshotError) -> (attributes: [ExtendedAttribute], isOpaque: Bool) {
        let all = try ExtendedAttributes.read(procPath, display(path))
        guard !all.isEmpty else { return ([], false) }
        var isOpaque = false
        var kept: [ExtendedAttribute] = []
        for attribute in all {
            guard attribute.name.starts(with: LayerManifest.overlayAttributePrefix) else {
                kept.append(attribute)
                continue
            }
            guard form == .overlayUpper else { continue }
            if attribute.name == ExtendedAttributes.opaqueName, attribute.value == [UInt8(ascii: "y")] {
                isOpaque = true
            } else {
                try ExtendedAttributes.remove(attribute.name, at: procPath, display(path))
            }
        }
        return (kept.sorted(), isOpaque)
    }

    /// Makes all but the first name, in path order, of each inode a hard link to the first.
    private mutating func linkGroups() {
        for indices in groups.values where indices.count > 1 {
            let sorted = indices.sorted { entries[$0].path.lexicographicallyPrecedes(entries[$1].path) }
            for index in sorted.dropFirst() { entries[index].kind = .hardlink(target: entries[sorted[0]].path) }
        }
    }
}
