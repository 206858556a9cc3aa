internal import BuildKitProtocol
internal import Foundation
internal import Glibc

/// Walks a tree in component order and describes each entry that a filter allows.
///
/// Parents come before their children; the root itself is not an entry. Entries that vanish on the way are left out.
struct TreeWalk {
    private struct Frame {
        let path: String
        /// Names still to visit, last one next.
        var names: [String]
        /// The directory's own entry while it was not allowed itself: sent before its first allowed child.
        var heldBack: Fsutil_Types_Stat?
    }

    private let root: DirectoryHandle
    private let filter: PathFilter
    private let resetsOwner: Bool
    private var frames: [Frame] = []
    private var ready: ArraySlice<Fsutil_Types_Stat> = []
    private var directory: DirectoryHandle
    /// First path seen of each inode with several names.
    private var linked: [Inode: String] = [:]

    private struct Inode: Hashable {
        let device: UInt64
        let number: UInt64
    }

    init(root: DirectoryHandle, filter: PathFilter, resetsOwner: Bool) throws {
        self.root = root
        self.filter = filter
        self.resetsOwner = resetsOwner
        directory = root
        frames = [Frame(path: "", names: try Self.sortedNames(root, filter: filter))]
    }

    /// The next entry; nil at the end.
    mutating func next() throws -> Fsutil_Types_Stat? {
        while true {
            if let entry = ready.popFirst() { return entry }
            guard var frame = frames.popLast() else { return nil }
            guard let name = frame.names.popLast() else { continue }
            frames.append(frame)
            try visit(name, in: frame.path)
        }
    }

    private mutating func visit(_ name: String, in parent: String) throws {
        if directory.path != parent {
            guard let reopened = try? root.openDirectory(parent) else {
                frames.removeLast()
                return
            }
            directory = reopened
        }
        let path = SyncPath.join(parent, name)
        let isAllowed = filter.allows(path)
        guard let found = try directory.stat(name) else { return }
        let isDirectory = found.st_mode & S_IFMT == S_IFDIR
        let descends = isDirectory && filter.mayAllowBelow(path)
        guard isAllowed || descends else { return }
        guard let entry = try describe(name, path, found, isAllowed: isAllowed) else { return }
        if isAllowed {
            for index in frames.indices {
                if let heldBack = frames[index].heldBack { ready.append(heldBack) }
                frames[index].heldBack = nil
            }
            ready.append(entry)
        }
        guard descends else { return }
        guard let below = try openForListing(name, isAllowed: isAllowed) else { return }
        directory = below
        let names = try Self.sortedNames(below, filter: filter)
        frames.append(Frame(path: path, names: names, heldBack: isAllowed ? nil : entry))
    }

    /// Opens a directory; nil where it has vanished, or can't be read and was not asked for itself.
    private func openForListing(_ name: String, isAllowed: Bool) throws -> DirectoryHandle? {
        do {
            return try directory.openDirectory(name)
        } catch {
            guard case .system(_, _, let code) = error, code == ENOENT || (code == EACCES && !isAllowed) else {
                throw error
            }
            return nil
        }
    }

    /// The names in reverse byte order.
    ///
    /// A name that is not UTF-8 is an error only where it would be sent.
    private static func sortedNames(_ directory: DirectoryHandle, filter: PathFilter) throws -> [String] {
        let names = try directory.names().compactMap { bytes throws -> String? in
            if let name = String(validating: bytes, as: UTF8.self) { return name }
            let shown = SyncPath.join(directory.path, String(decoding: bytes, as: UTF8.self))
            if filter.allows(shown) { throw FileSyncError.nameNotUTF8(shown) }
            return nil
        }
        return names.sorted { $1.utf8.lexicographicallyPrecedes($0.utf8) }
    }

    private mutating func describe(
        _ name: String, _ path: String, _ found: Glibc.stat, isAllowed: Bool
    ) throws -> Fsutil_Types_Stat? {
        var entry = Fsutil_Types_Stat()
        entry.path = path
        // A socket has no content to carry; it travels as an empty file.
        entry.mode = GoFileMode.fromStat(found.st_mode) & ~GoFileMode.socket
        entry.uid = resetsOwner ? 0 : found.st_uid
        entry.gid = resetsOwner ? 0 : found.st_gid
        entry.modTime = found.st_mtim.nanoseconds
        let type = found.st_mode & S_IFMT
        if type != S_IFDIR { entry.size = Int64(found.st_size) }
        switch type {
        case S_IFLNK:
            let target = try directory.readLink(name)
            guard let text = String(validating: target, as: UTF8.self) else {
                throw FileSyncError.nameNotUTF8(String(decoding: target, as: UTF8.self))
            }
            entry.linkname = text
        case S_IFCHR, S_IFBLK:
            entry.devmajor = Int64(DeviceNumber(found.st_rdev).major)
            entry.devminor = Int64(DeviceNumber(found.st_rdev).minor)
        case S_IFREG where found.st_nlink > 1 && isAllowed:
            let inode = Inode(device: UInt64(found.st_dev), number: UInt64(found.st_ino))
            if let first = linked[inode] { entry.linkname = first } else { linked[inode] = path }
        default: break
        }
        entry.xattrs = directory.extendedAttributes(name).mapValues { Data($0) }
        return entry
    }
}
