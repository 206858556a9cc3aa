internal import CLinux
internal import Glibc
internal import OCI
internal import Transfer

/// Makes the paths of a manifest in an empty directory, in overlayfs' form.
///
/// The directory is ours alone and every parent is opened without following links, so that nothing outside it can be
/// reached. Order: `makeDirectories`, then each file (`makeFile` or `place`), then `finish`.
struct LayerMaterializer: ~Copyable {
    let manifest: LayerManifest
    private let root: FileDescriptor
    private let rootPath: String
    private var parent: (path: ArraySlice<UInt8>, directory: Box)?

    /// Keeps the directory that was used last open: consecutive entries share it.
    private final class Box {
        let directory: FileDescriptor
        init(_ directory: consuming FileDescriptor) { self.directory = directory }
    }

    init(_ manifest: LayerManifest, at path: String) throws(SnapshotError) {
        self.manifest = manifest
        rootPath = path
        root = try FileDescriptor.directory(path)
    }

    private mutating func withParent<Value>(
        of path: [UInt8], _ body: (Int32, _ name: ArraySlice<UInt8>) throws(SnapshotError) -> Value
    ) throws(SnapshotError) -> Value {
        let (parentPath, name) = split(path)
        if let parent, parent.path == parentPath { return try body(parent.directory.directory.raw, name) }
        let box = Box(try root.directory(beneath: parentPath))
        parent = (parentPath, box)
        return try body(box.directory.raw, name)
    }

    mutating func makeDirectories() throws(SnapshotError) {
        for entry in manifest.entries where entry.isDirectory && !entry.path.isEmpty {
            try withParent(of: entry.path) { (directory, name) throws(SnapshotError) in
                // It is there when a pull goes on; `withParent` lets nothing but a directory pass.
                guard withCPath(name, { mkdirat(directory, $0, 0o700) }) == 0 || errno == EEXIST else {
                    throw .last("mkdirat", entry.displayPath)
                }
            }
        }
    }

    /// Creates the file of `entry`, empty; its metadata come with `finish(file:)`.
    mutating func makeFile(_ entry: LayerEntry) throws(SnapshotError) -> FileDescriptor {
        let raw = try withParent(of: entry.path) { (directory, name) throws(SnapshotError) -> Int32 in
            withCPath(name) { openat(directory, $0, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600) }
        }
        guard raw >= 0 else { throw .last("openat", entry.displayPath) }
        return FileDescriptor(raw: raw)
    }

    /// Opens the file of `entry` for writing; it is made when it is not there.
    mutating func openFile(_ entry: LayerEntry) throws(SnapshotError) -> FileDescriptor {
        let raw = try withParent(of: entry.path) { (directory, name) throws(SnapshotError) -> Int32 in
            let flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK
            return withCPath(name) { name in
                let raw = openat(directory, name, flags, 0o600)
                // A link where a file belongs, in a layer that was damaged.
                guard raw < 0, errno == ELOOP, unlinkat(directory, name, 0) == 0 else { return raw }
                return openat(directory, name, flags, 0o600)
            }
        }
        guard raw >= 0 else { throw .last("openat", entry.displayPath) }
        return FileDescriptor(raw: raw)
    }

    /// Sets the metadata of a file that is whole.
    mutating func setMetadata(of entry: LayerEntry) throws(SnapshotError) {
        try withParent(of: entry.path) { (directory, name) throws(SnapshotError) in
            try Self.setMetadata(of: entry, in: directory, name: name)
        }
    }

    /// Moves a file that was written elsewhere on the file system to where `entry` wants it.
    mutating func place(_ file: String, as entry: LayerEntry) throws(SnapshotError) {
        try withParent(of: entry.path) { (directory, name) throws(SnapshotError) in
            guard withCPath(name, { renameat(AT_FDCWD, file, directory, $0) }) == 0 else {
                throw .last("renameat", entry.displayPath)
            }
        }
    }

    /// Makes `entry` another name of a file elsewhere on the file system, whose metadata are those of `entry`.
    mutating func link(
        _ source: borrowing FileDescriptor, _ sourcePath: [UInt8], as entry: LayerEntry
    ) throws(SnapshotError) {
        let sourceName = split(sourcePath).name
        let from = source.raw
        let code = try withParent(of: entry.path) { (directory, name) throws(SnapshotError) -> Int32 in
            withCPath(sourceName) { old in withCPath(name) { linkat(from, old, directory, $0, 0) } } == 0 ? 0 : errno
        }
        guard code == 0 else { throw .failed("linkat", entry.displayPath, code: code) }
    }

    /// Makes all that is neither file nor directory, sets all metadata, directories last since their children's making
    /// changes their times.
    ///
    /// `isSettled` says of an entry's index whether its metadata are right already.
    mutating func finish(isSettled: (Int) -> Bool = { _ in false }) throws(SnapshotError) {
        for (index, entry) in manifest.entries.enumerated() {
            switch entry.kind {
            case .directory, .hardlink: continue
            case .file:
                if isSettled(index) { continue }
            default:
                try withParent(of: entry.path) { (directory, name) throws(SnapshotError) in
                    try Self.make(entry, in: directory, name: name)
                }
                if entry.isWhiteout { continue }
            }
            try setMetadata(of: entry)
        }
        for entry in manifest.entries {
            guard case .hardlink(let target) = entry.kind else { continue }
            let (targetParent, targetName) = split(target)
            let from = try root.directory(beneath: targetParent)
            let old = from.raw
            let code = try withParent(of: entry.path) { (directory, name) throws(SnapshotError) -> Int32 in
                Self.make(in: directory, name) { name in withCPath(targetName) { linkat(old, $0, directory, name, 0) } }
            }
            guard code == 0 else { throw .failed("linkat", entry.displayPath, code: code) }
        }
        for entry in manifest.entries.reversed() where entry.isDirectory {
            if entry.path.isEmpty {
                try Self.setMetadata(ofRoot: rootPath, to: entry)
                continue
            }
            try withParent(of: entry.path) { (directory, name) throws(SnapshotError) in
                try Self.setMetadata(of: entry, in: directory, name: name)
            }
        }
        if manifest.entries.first?.path.isEmpty != true {
            try Self.setMetadata(ofRoot: rootPath, to: SnapshotStore.defaultRoot)
        }
    }

    private static func make(_ entry: LayerEntry, in directory: Int32, name: ArraySlice<UInt8>) throws(SnapshotError) {
        let code: Int32
        switch entry.kind {
        case .directory, .file, .hardlink: return
        case .symlink(let target):
            code = make(in: directory, name) { name in withCPath(target) { symlinkat($0, directory, name) } }
        case .characterDevice(let major, let minor):
            let device = dev_t(linux_make_device(major, minor))
            code = make(in: directory, name) { mknodat(directory, $0, S_IFCHR | 0o600, device) }
        case .blockDevice(let major, let minor):
            let device = dev_t(linux_make_device(major, minor))
            code = make(in: directory, name) { mknodat(directory, $0, S_IFBLK | 0o600, device) }
        case .fifo: code = make(in: directory, name) { mknodat(directory, $0, S_IFIFO | 0o600, 0) }
        case .whiteout: code = make(in: directory, name) { mknodat(directory, $0, S_IFCHR, 0) }
        }
        guard code == 0 else { throw .failed("mknodat", entry.displayPath, code: code) }
    }

    /// Calls `body` with a name that nothing has: what a pull that was cut off had made there is removed.
    private static func make(
        in directory: Int32, _ name: ArraySlice<UInt8>, _ body: (UnsafePointer<CChar>) -> Int32
    ) -> Int32 {
        withCPath(name) { name in
            if body(name) == 0 { return 0 }
            guard errno == EEXIST, unlinkat(directory, name, 0) == 0 else { return errno }
            return body(name) == 0 ? 0 : errno
        }
    }

    /// Sets the metadata of an open file.
    ///
    /// `isOurs`: this process made it, and nobody has given it another owner since.
    static func setMetadata(of entry: LayerEntry, on file: Int32, isOurs: Bool) throws(SnapshotError) {
        if !isOurs || entry.uid != geteuid() || entry.gid != getegid() {
            guard fchown(file, entry.uid, entry.gid) == 0 else { throw .last("fchown", entry.displayPath) }
        }
        guard fchmod(file, mode_t(entry.mode)) == 0 else { throw .last("fchmod", entry.displayPath) }
        for attribute in entry.attributes {
            try ExtendedAttributes.set(attribute, on: file, entry.displayPath)
        }
        let time = timespec(tv_sec: Int(entry.modified.seconds), tv_nsec: Int(entry.modified.nanoseconds))
        guard futimens(file, [time, time]) == 0 else { throw .last("futimens", entry.displayPath) }
    }

    /// Owner first, since a change of owner clears setuid bits and capabilities; times last.
    private static func setMetadata(
        of entry: LayerEntry, in directory: Int32, name: ArraySlice<UInt8>
    ) throws(SnapshotError) {
        let shown = entry.displayPath
        guard withCPath(name, { fchownat(directory, $0, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) }) == 0 else {
            throw .last("fchownat", shown)
        }
        var isLink = false
        if case .symlink = entry.kind { isLink = true }
        // Nothing but ourselves has made `name`, and it is no link, so that following is not possible here.
        if !isLink, withCPath(name, { fchmodat(directory, $0, mode_t(entry.mode), 0) }) != 0 {
            throw .last("fchmodat", shown)
        }
        let procPath = Array("/proc/self/fd/\(directory)/".utf8) + name
        for attribute in entry.attributes { try ExtendedAttributes.set(attribute, at: procPath, shown) }
        if entry.kind == .directory(isOpaque: true) {
            let mark = ExtendedAttribute(name: ExtendedAttributes.opaqueName, value: [UInt8(ascii: "y")])
            try ExtendedAttributes.set(mark, at: procPath, shown)
        }
        try setTimes(of: entry, in: directory, name: name)
    }

    private static func setTimes(
        of entry: LayerEntry, in directory: Int32, name: ArraySlice<UInt8>
    ) throws(SnapshotError) {
        let time = timespec(tv_sec: Int(entry.modified.seconds), tv_nsec: Int(entry.modified.nanoseconds))
        let both = [time, time]
        guard withCPath(name, { utimensat(directory, $0, both, AT_SYMLINK_NOFOLLOW) }) == 0 else {
            throw .last("utimensat", entry.displayPath)
        }
    }

    /// Sets the times of one entry below `root`.
    static func setTimes(of entry: LayerEntry, beneath root: borrowing FileDescriptor) throws(SnapshotError) {
        let (parent, name) = split(entry.path)
        let directory = try root.directory(beneath: parent)
        try setTimes(of: entry, in: directory.raw, name: name)
    }

    /// Gives a layer's root directory at `path`, one of ours, the metadata of `entry`.
    static func setMetadata(ofRoot path: String, to entry: LayerEntry) throws(SnapshotError) {
        try setMetadata(of: entry, in: AT_FDCWD, rootPath: path)
    }

    private static func setMetadata(of entry: LayerEntry, in directory: Int32, rootPath: String) throws(SnapshotError) {
        let root = try FileDescriptor.directory(rootPath)
        try setMetadata(of: entry, in: root.raw, name: [UInt8(ascii: ".")])
    }
}
