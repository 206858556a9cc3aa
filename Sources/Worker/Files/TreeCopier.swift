internal import CLinux
internal import Glibc
internal import PathPatterns

/// Copies files and trees with everything that belongs to them: owner, mode, times, extended attributes, hard links,
/// devices, holes.
///
/// Blocks its thread.
struct TreeCopier {
    struct Options {
        /// Owner of what is copied; nil keeps each entry's own.
        var owner: (uid: UInt32, gid: UInt32)?
        var mode: CopyMode = .keep
        /// Modification time of what is copied; nil keeps each entry's own.
        var time: timespec?
        /// Only what it selects is copied, with the directories that lead there; nil is everything.
        var filter: CopyFilter?
        /// Replaces an entry of another type instead of failing.
        var replacesExisting = false
    }

    private struct Inode: Hashable {
        let device: dev_t
        let number: ino_t
    }

    private static let depthMax = 4096
    private static let pieceBytes = 1 << 20

    private let options: Options
    private var links: [Inode: String] = [:]

    init(_ options: Options) { self.options = options }

    /// Copies what is in one directory into another, with the directory's own metadata.
    ///
    /// Both are paths of ours.
    func copyContents(of source: String, into target: String) throws {
        var copier = self
        let from = try RootedTree(source)
        let to = try RootedTree(target)
        let place = RootedTree.Location(components: [], existing: 0)
        try copier.copy(from, place, to: to, place, overwritesMetadata: true)
    }

    /// Copies one entry.
    ///
    /// Its parent must exist in the target.
    ///
    /// `overwritesMetadata` says whether an existing directory takes the source's owner, mode and time.
    mutating func copy(
        _ from: RootedTree, _ source: RootedTree.Location, to: RootedTree, _ target: RootedTree.Location,
        overwritesMetadata: Bool
    ) throws(OperationError) {
        let (sourceParent, sourceName) = try from.openParent(of: source)
        let (targetParent, targetName) = try to.openParent(of: target)
        try copyEntry(
            Place(directory: sourceParent, name: sourceName, shown: source.text),
            Place(directory: targetParent, name: targetName, shown: target.text), relative: "",
            overwritesMetadata: overwritesMetadata, depth: 0)
    }

    /// An entry of an open directory.
    private struct Place {
        let directory: FileDescriptor
        let name: [CChar]
        /// For messages only.
        let shown: String

        var status: stat? {
            var status = stat()
            return fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status : nil
        }

        /// For calls without an `at` form; the last component is never followed by those that we use.
        var path: String {
            directory.procPath + "/" + name.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
        }
    }

    private mutating func copyEntry(
        _ source: Place, _ target: Place, relative: String, overwritesMetadata: Bool, depth: Int
    ) throws(OperationError) {
        guard let status = source.status else { throw .notFound(path: source.shown) }
        // Deletion marks of a layer are no content.
        if status.st_mode & S_IFMT == S_IFCHR, status.st_rdev == 0 { return }
        guard status.st_mode & S_IFMT != S_IFDIR else {
            try copyDirectory(source, target, status, relative, overwritesMetadata, depth)
            return
        }
        if !relative.isEmpty, !isWanted(relative) { return }
        try clear(target, isDirectory: false)
        if try linked(status, target) { return }
        switch status.st_mode & S_IFMT {
        case S_IFREG: try copyFile(source, target)
        case S_IFLNK: try copyLink(source, target)
        case S_IFSOCK: return
        default:
            guard mknodat(target.directory.number, target.name, status.st_mode, status.st_rdev) == 0 else {
                throw .system(call: "mknod \(target.shown)", code: errno)
            }
        }
        try copyMetadata(source, target, status)
        if status.st_nlink > 1 { links[Inode(device: status.st_dev, number: status.st_ino)] = try currentPath(target) }
    }

    private mutating func copyDirectory(
        _ source: Place, _ target: Place, _ status: stat, _ relative: String, _ overwritesMetadata: Bool, _ depth: Int
    ) throws(OperationError) {
        guard depth < Self.depthMax else {
            throw .unsupported("\(source.shown): more than \(Self.depthMax) levels deep")
        }
        if !relative.isEmpty, options.filter?.entersDirectory(relative) == false { return }
        let number = openat(source.directory.number, source.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard number >= 0 else { throw .system(call: "open \(source.shown)", code: errno) }
        let inside = FileDescriptor(number)
        let isNew = try clear(target, isDirectory: true)
        if isNew, mkdirat(target.directory.number, target.name, 0o700) != 0 {
            throw .system(call: "mkdir \(target.shown)", code: errno)
        }
        let made = openat(target.directory.number, target.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard made >= 0 else { throw .system(call: "open \(target.shown)", code: errno) }
        let result = FileDescriptor(made)
        for name in try DirectoryListing.names(in: inside, shown: source.shown) {
            let text = String(decoding: name, as: UTF8.self)
            let raw = name.map { CChar(bitPattern: $0) } + [0]
            try copyEntry(
                Place(directory: inside, name: raw, shown: "\(source.shown)/\(text)"),
                Place(directory: result, name: raw, shown: "\(target.shown)/\(text)"),
                relative: relative.isEmpty ? text : "\(relative)/\(text)", overwritesMetadata: true, depth: depth + 1)
        }
        if isNew, !relative.isEmpty, !isWanted(relative),
            unlinkat(target.directory.number, target.name, Int32(AT_REMOVEDIR)) == 0
        {
            // It led to nothing that was wanted.
            return
        }
        if isNew || overwritesMetadata {
            try copyMetadata(source, target, status)
        } else {
            // A directory that was there keeps what it has but takes the time of what was copied into it.
            try RootedTree.setMetadata(
                target.directory, target.name, owner: nil, mode: nil, time: options.time ?? status.st_mtim,
                shown: target.shown)
        }
    }

    /// Whether patterns let the entry itself through.
    private func isWanted(_ path: String) -> Bool { options.filter?.selects(path) ?? true }

    /// Makes room for an entry; false when a directory is there that the entry is merged with.
    @discardableResult
    private func clear(_ target: Place, isDirectory: Bool) throws(OperationError) -> Bool {
        guard let existing = target.status else { return true }
        let isThere = existing.st_mode & S_IFMT == S_IFDIR
        if isDirectory, isThere { return false }
        if isDirectory != isThere, !options.replacesExisting {
            // A link or file is simply replaced by a file; types that differ in being a directory are not.
            guard !isDirectory else { throw .invalid("cannot copy to non-directory: \(target.shown)") }
            throw .invalid("cannot replace to directory \(target.shown) with file")
        }
        try RootedTree.removeTree(target.directory, target.name, shown: target.shown)
        return true
    }

    /// Links to the copy of another name of the same file, if that was copied.
    private func linked(_ status: stat, _ target: Place) throws(OperationError) -> Bool {
        guard status.st_nlink > 1, let path = links[Inode(device: status.st_dev, number: status.st_ino)] else {
            return false
        }
        guard linkat(AT_FDCWD, path, target.directory.number, target.name, 0) == 0 else {
            throw .system(call: "link \(target.shown)", code: errno)
        }
        return true
    }

    private func currentPath(_ target: Place) throws(OperationError) -> String {
        let directory = try target.directory.currentPath()
        return directory + "/"
            + target.name.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    }

    private func copyLink(_ source: Place, _ target: Place) throws(OperationError) {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        guard readlinkat(source.directory.number, source.name, &buffer, Int(PATH_MAX)) >= 0 else {
            throw .system(call: "readlink \(source.shown)", code: errno)
        }
        guard symlinkat(buffer, target.directory.number, target.name) == 0 else {
            throw .system(call: "symlink \(target.shown)", code: errno)
        }
    }

    private func copyFile(_ source: Place, _ target: Place) throws(OperationError) {
        let from = openat(source.directory.number, source.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
        guard from >= 0 else { throw .system(call: "open \(source.shown)", code: errno) }
        let reader = FileDescriptor(from)
        let to = openat(target.directory.number, target.name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard to >= 0 else { throw .system(call: "create \(target.shown)", code: errno) }
        let writer = FileDescriptor(to)
        var status = stat()
        fstat(from, &status)
        if status.st_size == 0 || linux_clone_file(from, to) == 0 { return }
        guard ftruncate(to, status.st_size) == 0 else { throw .system(call: "write \(target.shown)", code: errno) }
        var offset: off_t = 0
        while offset < status.st_size {
            let data = linux_seek_data(from, offset)
            if data < 0 {
                if errno == ENXIO { break }
                throw .system(call: "read \(source.shown)", code: errno)
            }
            let hole = linux_seek_hole(from, data)
            let end = hole < 0 ? status.st_size : hole
            try copyRange(reader, writer, data..<end, source.shown, target.shown)
            offset = end
        }
    }

    private func copyRange(
        _ reader: FileDescriptor, _ writer: FileDescriptor, _ range: Range<off_t>, _ source: String, _ target: String
    ) throws(OperationError) {
        var from = range.lowerBound
        var to = range.lowerBound
        while from < range.upperBound {
            let count = linux_copy_file_range(
                reader.number, &from, writer.number, &to, min(Int(range.upperBound - from), 1 << 30))
            if count > 0 { continue }
            if count == 0 { return }
            guard errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS else {
                throw .system(call: "copy \(source) to \(target)", code: errno)
            }
            var piece = [UInt8](repeating: 0, count: Self.pieceBytes)
            let got = pread(reader.number, &piece, min(piece.count, Int(range.upperBound - from)), from)
            guard got > 0 else { return }
            guard pwrite(writer.number, piece, got, to) == got else {
                throw .system(call: "write \(target)", code: errno == 0 ? ENOSPC : errno)
            }
            from += off_t(got)
            to += off_t(got)
        }
    }

    private func copyMetadata(_ source: Place, _ target: Place, _ status: stat) throws(OperationError) {
        try ExtendedAttributeCopy.copy(from: source.path, to: target.path, shown: target.shown)
        let isLink = status.st_mode & S_IFMT == S_IFLNK
        let mode = options.mode.apply(to: status.st_mode, isDirectory: status.st_mode & S_IFMT == S_IFDIR)
        try RootedTree.setMetadata(
            target.directory, target.name, owner: options.owner ?? (status.st_uid, status.st_gid),
            mode: isLink ? nil : mode, time: options.time ?? status.st_mtim, shown: target.shown)
    }
}
