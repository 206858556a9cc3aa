internal import BuildKitProtocol
internal import Glibc

/// The directory that a receiver changes, entry by entry in the order of the sender's list.
///
/// Used by one task. Content may arrive long after its entry; hard links and directories' own metadata come last.
final class ReceivedTree {
    /// Entries of one tree; each costs memory until the end.
    static let entriesMax = 10_000_000
    /// Files whose content arrives interleaved; senders read four at a time.
    static let filesAtOnceMax = 64

    private struct Frame {
        let path: String
        /// Names that were here before and have not been listed; removed when the list leaves the directory.
        var unlisted: Set<[UInt8]>
    }

    private struct Arriving {
        let directory: DirectoryHandle
        let temporaryName: String
        let file: OpenFile
    }

    private struct Inode: Hashable {
        let device: UInt64
        let number: UInt64
    }

    private(set) var outcome = DirectoryReceiver.Outcome()
    private let root: DirectoryHandle
    private let comparesMetadata: Bool
    private let isMerging: Bool
    private let ownership: DirectoryReceiver.Ownership
    private var frames: [Frame] = []
    private var parent: DirectoryHandle
    private var lastPath = ""
    private var isListed = false
    private var awaited: [UInt32: Fsutil_Types_Stat] = [:]
    private var arriving: [UInt32: Arriving] = [:]
    private var links: [Fsutil_Types_Stat] = []
    private var directories: [Fsutil_Types_Stat] = []
    /// Regular files of the list, kept only where the directory holds others too.
    private var linkTargets: Set<String> = []
    private var seenInodes: Set<Inode> = []

    init(root: DirectoryHandle, comparesMetadata: Bool, isMerging: Bool, ownership: DirectoryReceiver.Ownership) {
        self.root = root
        self.comparesMetadata = comparesMetadata
        self.isMerging = isMerging
        self.ownership = ownership
        parent = root
    }

    /// Whether the list is complete and all that was asked for has arrived.
    var isComplete: Bool { isListed && awaited.isEmpty }

    /// Takes the next entry of the list; its id when the file's content is wanted.
    func add(_ entry: Fsutil_Types_Stat) throws -> UInt32? {
        guard !isListed else { throw FileSyncError.violation("an entry follows the end of the list") }
        guard outcome.listed < Self.entriesMax else {
            throw FileSyncError.violation("more than \(Self.entriesMax) entries")
        }
        if frames.isEmpty { frames.append(Frame(path: "", unlisted: try unlisted(in: root))) }
        let (directory, name) = try enterParent(of: entry)
        let id = UInt32(outcome.listed)
        outcome.listed += 1
        lastPath = entry.path
        frames[frames.count - 1].unlisted.remove(Array(name.utf8))
        let mode = GoFileMode.toStat(entry.mode)
        switch mode & S_IFMT {
        case S_IFDIR: try addDirectory(entry, name, in: directory)
        case S_IFREG where !entry.linkname.isEmpty: links.append(entry)
        case S_IFREG: return try addFile(entry, id, name, in: directory)
        case S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO: try addSpecial(entry, name, in: directory)
        default: throw FileSyncError.violation("\(entry.path) has mode \(entry.mode), which is no kind of file")
        }
        return nil
    }

    /// Checks path and order, leaves the directories that are done and opens the entry's parent.
    private func enterParent(of entry: Fsutil_Types_Stat) throws -> (DirectoryHandle, String) {
        try SyncPath.validate(entry.path)
        guard lastPath.isEmpty || SyncPath.precedes(lastPath, entry.path) else {
            throw FileSyncError.violation("\(entry.path) is listed after \(lastPath)")
        }
        let (parentPath, name) = SyncPath.split(entry.path)
        while let frame = frames.last, frame.path != parentPath, !frame.path.isEmpty { try leave(frame) }
        guard frames.last?.path == parentPath else {
            throw FileSyncError.violation("\(entry.path) is listed without its directory")
        }
        if parent.path != parentPath { parent = try root.openDirectory(parentPath) }
        return (parent, name)
    }

    private func unlisted(in directory: DirectoryHandle) throws -> Set<[UInt8]> {
        isMerging ? [] : Set(try directory.names())
    }

    private func leave(_ frame: Frame) throws {
        frames.removeLast()
        guard !frame.unlisted.isEmpty else { return }
        let directory = try root.openDirectory(frame.path)
        for name in frame.unlisted {
            try directory.removeTree(name)
            outcome.entries += 1
        }
    }

    // MARK: Kinds of entries

    private func addDirectory(_ entry: Fsutil_Types_Stat, _ name: String, in directory: DirectoryHandle) throws {
        let found = try directory.stat(name)
        let isNew = found?.st_mode.isDirectory != true
        if isNew {
            if found != nil { try directory.removeTree(Array(name.utf8)) }
            try directory.makeDirectory(name)
            outcome.entries += 1
        } else if let found, geteuid() != 0, found.st_mode & 0o700 != 0o700 {
            // Its final mode is set at the end; until then we have to write in it.
            try directory.setMode(name, found.st_mode | 0o700)
        }
        let opened = try directory.openDirectory(name)
        frames.append(Frame(path: entry.path, unlisted: isNew ? [] : try unlisted(in: opened)))
        parent = opened
        directories.append(entry)
    }

    private func addFile(
        _ entry: Fsutil_Types_Stat, _ id: UInt32, _ name: String, in directory: DirectoryHandle
    ) throws -> UInt32? {
        guard entry.size >= 0 else { throw FileSyncError.violation("\(entry.path) has \(entry.size) bytes") }
        if isMerging { linkTargets.insert(entry.path) }
        let found = try directory.stat(name)
        if let found, found.st_nlink > 1, !found.st_mode.isDirectory {
            let inode = Inode(device: UInt64(found.st_dev), number: UInt64(found.st_ino))
            // A second name of a file that is listed as two files must become a file of its own.
            if seenInodes.insert(inode).inserted, isUnchanged(entry, found) { return nil }
        } else if let found, isUnchanged(entry, found) {
            return nil
        }
        if let found, found.st_mode.isDirectory { try directory.removeTree(Array(name.utf8)) }
        awaited[id] = entry
        outcome.entries += 1
        return id
    }

    private func addSpecial(_ entry: Fsutil_Types_Stat, _ name: String, in directory: DirectoryHandle) throws {
        let mode = GoFileMode.toStat(entry.mode)
        let isLink = mode & S_IFMT == S_IFLNK
        let found = try directory.stat(name)
        if let found, isUnchanged(entry, found) {
            guard isLink else { return }
            if try directory.readLink(name) == Array(entry.linkname.utf8) { return }
        }
        let temporaryName = Self.temporaryName()
        if isLink {
            guard (1...SyncPath.bytesMax).contains(entry.linkname.utf8.count), !entry.linkname.utf8.contains(0) else {
                throw FileSyncError.violation("\(entry.path) links to a path of \(entry.linkname.utf8.count) bytes")
            }
            try directory.makeSymlink(temporaryName, to: entry.linkname)
        } else {
            try directory.makeNode(temporaryName, mode: mode, device: try Self.device(of: entry))
        }
        do {
            let (uid, gid) = owner(of: entry)
            try directory.setOwner(temporaryName, uid: uid, gid: gid)
            if !isLink { try directory.setMode(temporaryName, mode) }
            directory.setExtendedAttributes(temporaryName, entry.xattrs.mapValues { Array($0) })
            try directory.setModified(temporaryName, nanoseconds: entry.modTime)
            if let found, found.st_mode.isDirectory { try directory.removeTree(Array(name.utf8)) }
            try directory.rename(temporaryName, to: name)
        } catch {
            try? directory.unlink(temporaryName)
            throw error
        }
        outcome.entries += 1
    }

    private static func device(of entry: Fsutil_Types_Stat) throws(FileSyncError) -> dev_t {
        guard let major = UInt32(exactly: entry.devmajor), let minor = UInt32(exactly: entry.devminor) else {
            throw .violation("\(entry.path) is device \(entry.devmajor):\(entry.devminor)")
        }
        return DeviceNumber(major: major, minor: minor).encoded
    }

    // MARK: Content

    /// Takes a piece of a file's content; an empty piece ends the file.
    func receive(_ bytes: [UInt8], for id: UInt32) throws {
        guard let entry = awaited[id] else { throw FileSyncError.violation("content of file \(id), not asked for") }
        let target = try arriving[id] ?? open(entry, id)
        guard bytes.isEmpty else {
            outcome.bytes += Int64(bytes.count)
            return try target.file.write(bytes)
        }
        let (uid, gid) = owner(of: entry)
        target.directory.setExtendedAttributes(target.temporaryName, entry.xattrs.mapValues { Array($0) })
        try target.file.setMetadata(
            uid: uid, gid: gid, mode: GoFileMode.toStat(entry.mode), nanoseconds: entry.modTime)
        if entry.xattrs["security.capability"] != nil {
            // chown(2) drops capabilities, so they are set once more.
            target.directory.setExtendedAttributes(target.temporaryName, entry.xattrs.mapValues { Array($0) })
        }
        try target.directory.rename(target.temporaryName, to: SyncPath.split(entry.path).name)
        arriving[id] = nil
        awaited[id] = nil
    }

    private func open(_ entry: Fsutil_Types_Stat, _ id: UInt32) throws -> Arriving {
        guard arriving.count < Self.filesAtOnceMax else {
            throw FileSyncError.violation("content of more than \(Self.filesAtOnceMax) files at once")
        }
        let directory = try root.openDirectory(SyncPath.split(entry.path).parent)
        let temporaryName = Self.temporaryName()
        let target = Arriving(
            directory: directory, temporaryName: temporaryName, file: try directory.createFile(temporaryName))
        arriving[id] = target
        return target
    }

    // MARK: The end

    func endList() throws {
        guard !isListed else { throw FileSyncError.violation("the list ends twice") }
        if frames.isEmpty { frames.append(Frame(path: "", unlisted: try unlisted(in: root))) }
        while let frame = frames.last { try leave(frame) }
        isListed = true
    }

    /// Makes hard links and gives directories their metadata, deepest first.
    func finish() throws {
        for link in links { try makeLink(link) }
        for entry in directories.reversed() {
            let (parentPath, name) = SyncPath.split(entry.path)
            let directory = try root.openDirectory(parentPath)
            let (uid, gid) = owner(of: entry)
            try directory.setOwner(name, uid: uid, gid: gid)
            try directory.setMode(name, GoFileMode.toStat(entry.mode))
            directory.setExtendedAttributes(name, entry.xattrs.mapValues { Array($0) })
            try directory.setModified(name, nanoseconds: entry.modTime)
        }
    }

    private func makeLink(_ entry: Fsutil_Types_Stat) throws {
        try SyncPath.validate(entry.linkname)
        let (targetParent, targetName) = SyncPath.split(entry.linkname)
        let isListedBefore =
            SyncPath.precedes(entry.linkname, entry.path)
            && (!isMerging || linkTargets.contains(entry.linkname))
        guard isListedBefore, let targetDirectory = try? root.openDirectory(targetParent),
            let target = try targetDirectory.stat(targetName), target.st_mode & S_IFMT == S_IFREG
        else { throw FileSyncError.violation("\(entry.path) links to \(entry.linkname), no file listed before it") }
        let (parentPath, name) = SyncPath.split(entry.path)
        let directory = try root.openDirectory(parentPath)
        let found = try directory.stat(name)
        if let found, found.st_ino == target.st_ino, found.st_dev == target.st_dev { return }
        if let found, found.st_mode.isDirectory { try directory.removeTree(Array(name.utf8)) }
        let temporaryName = Self.temporaryName()
        try directory.makeLink(temporaryName, to: targetName, in: targetDirectory)
        try directory.rename(temporaryName, to: name)
        outcome.entries += 1
    }

    /// Removes files whose content has not arrived whole.
    func removeUnfinished() {
        for target in arriving.values { try? target.directory.unlink(target.temporaryName) }
        arriving = [:]
    }

    // MARK: Metadata

    private func owner(of entry: Fsutil_Types_Stat) -> (uid: uid_t, gid: gid_t) {
        switch ownership {
        case .asSent: (entry.uid, entry.gid)
        case .fixed(let uid, let gid): (uid, gid)
        }
    }

    private func isUnchanged(_ entry: Fsutil_Types_Stat, _ found: Glibc.stat) -> Bool {
        let mode = GoFileMode.toStat(entry.mode)
        let type = mode & S_IFMT
        let (uid, gid) = owner(of: entry)
        guard comparesMetadata, type == found.st_mode & S_IFMT, uid == found.st_uid, gid == found.st_gid,
            entry.modTime == found.st_mtim.nanoseconds
        else { return false }
        // The kernel gives every symbolic link mode 0777; other systems send what they have.
        if type != S_IFLNK, mode & 0o7777 != found.st_mode & 0o7777 { return false }
        if type == S_IFREG, entry.size != Int64(found.st_size) { return false }
        guard type == S_IFCHR || type == S_IFBLK else { return true }
        let device = DeviceNumber(found.st_rdev)
        return Int64(device.major) == entry.devmajor && Int64(device.minor) == entry.devminor
    }

    /// A name that a sender can't guess, so that it can't list it.
    private static func temporaryName() -> String {
        ".peerbuild-\(String(UInt64.random(in: .min ... .max), radix: 36))"
    }
}

extension mode_t {
    var isDirectory: Bool { self & S_IFMT == S_IFDIR }
}
