internal import CLinux
internal import Glibc
internal import OCI
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

    init(form: Form) { self.form = form }

    /// Scans all below `root`; the root's own entry is the last one.
    mutating func scan(_ root: borrowing FileDescriptor) throws(SnapshotError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: FileContent.bufferBytes, alignment: 4_096)
        defer { buffer.deallocate() }
        var pending: [[UInt8]] = [[]]
        while let path = pending.popLast() {
            let directory = try root.directory(beneath: path)
            for name in try names(in: directory, display(path)) {
                let childPath = path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
                guard childPath.count <= LayerManifest.pathBytesMax else {
                    throw .unsupported(path: display(childPath), "its path is longer than 4,095 bytes")
                }
                if try scan(name, at: childPath, in: directory, buffer) { pending.append(childPath) }
            }
        }
        var status = stat()
        guard fstat(root.raw, &status) == 0 else { throw .last("fstat", "/") }
        entries.append(try entry(at: [], status, attributesOf: root.procPath([UInt8(ascii: ".")]), buffer, root))
        linkGroups()
    }

    /// Scans one name; returns whether it is a directory to be entered.
    private mutating func scan(
        _ name: [UInt8], at path: [UInt8], in directory: borrowing FileDescriptor,
        _ buffer: UnsafeMutableRawBufferPointer
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
        let entry = try entry(at: path, status, attributesOf: directory.procPath(name), buffer, directory)
        if case .file = entry.kind, status.st_nlink > 1 {
            let inode = Inode(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
            groups[inode, default: []].append(entries.count)
        }
        entries.append(entry)
        return type == S_IFDIR
    }

    private mutating func entry(
        at path: [UInt8], _ status: stat, attributesOf procPath: [UInt8], _ buffer: UnsafeMutableRawBufferPointer,
        _ directory: borrowing FileDescriptor
    ) throws(SnapshotError) -> LayerEntry {
        let type = status.st_mode & S_IFMT
        if type == S_IFCHR, status.st_rdev == 0, form == .overlayUpper { return .whiteout(path) }
        let (attributes, isOpaque) = try attributes(at: procPath, path)
        let major = linux_device_major(UInt64(status.st_rdev))
        let minor = linux_device_minor(UInt64(status.st_rdev))
        let kind: LayerEntry.Kind
        switch type {
        case S_IFDIR: kind = .directory(isOpaque: isOpaque)
        case S_IFREG: kind = try file(at: path, status, buffer, directory)
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

    private mutating func file(
        at path: [UInt8], _ status: stat, _ buffer: UnsafeMutableRawBufferPointer, _ directory: borrowing FileDescriptor
    ) throws(SnapshotError) -> LayerEntry.Kind {
        let size = Int64(status.st_size)
        let stamp = FileDigests.Stamp(status)
        // Of a file with several names only the first is read.
        if let digest = digests[stamp] ?? known[stamp] {
            digests[stamp] = digest
            return .file(size: size, content: digest)
        }
        let name = path[(path.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0)...]
        let file = try directory.file(beneath: name, O_RDONLY | O_NONBLOCK)
        let digest = try FileContent.digest(of: file, size: size, buffer: buffer, path)
        filesRead += 1
        digests[stamp] = digest
        return .file(size: size, content: digest)
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
