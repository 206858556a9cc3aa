internal import ContentStore
internal import Glibc
internal import Synchronization

@testable internal import Snapshots

/// Watches the calls that make things durable, and says what a power cut at any of them would leave that must not be.
///
/// A name may reach the disk at any moment after its rename, content only by fsync or syncfs: so when a name appears, what
/// is behind it has to be on the disk, or a mark has to be there that says that it is not.
final class DiskJournal: Sendable {
    private struct State {
        /// When each file was last changed, by inode, as of its fsync, or of a syncfs.
        var synced: [ino_t: [Int]] = [:]
        /// Names in a directory, by inode, as of the same.
        var listed: [ino_t: Set<String>] = [:]
        /// What appeared and whose name is not known to be on the disk, by its directory.
        var unsafeNames: [String: Set<String>] = [:]
        /// Layers that appeared with a mark, and that no syncfs has come after.
        var marked: Set<String> = []
        var faults: [String] = []
        var renames = 0
        var marksTaken = 0
    }

    private let state = Mutex(State())

    var faults: [String] { state.withLock { $0.faults } }
    var renames: Int { state.withLock { $0.renames } }
    /// Marks that were taken away.
    var marksTaken: Int { state.withLock { $0.marksTaken } }
    /// Names that a power cut now could take away again.
    var unsafeNames: Set<String> { state.withLock { $0.unsafeNames.values.reduce(into: []) { $0.formUnion($1) } } }

    var calls: DiskCalls {
        var calls = DiskCalls.system
        let system = DiskCalls.system
        calls.sync = { descriptor in
            let result = system.sync(descriptor)
            self.state.withLock { Self.noteSync(descriptor, &$0) }
            return result
        }
        calls.syncFileSystem = { descriptor in
            // As it is before: what changes meanwhile may be left out. The kernel's times of changes cannot be compared
            // with any clock, some are finer than its tick.
            let paths = Self.all(below: Self.directory(of: descriptor))
            var whole = State()
            for path in paths { Self.note(path, &whole) }
            let appeared = self.state.withLock { $0.marked }
            let result = system.syncFileSystem(descriptor)
            self.state.withLock { state in
                state.synced.merge(whole.synced) { $1 }
                state.listed.merge(whole.listed) { $1 }
                state.unsafeNames = [:]
                state.marked.subtract(appeared)
            }
            return result
        }
        calls.rename = { from, to in
            self.state.withLock { Self.noteRename(from, to, &$0) }
            return system.rename(from, to)
        }
        calls.unlink = { path in
            self.state.withLock { state in
                state.marksTaken += 1
                if state.marked.contains(Self.parent(path)) { state.faults.append("\(path) is taken away too early") }
            }
            return system.unlink(path)
        }
        return calls
    }

    private static func parent(_ path: String) -> String {
        String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    }

    private static func changed(_ status: stat) -> [Int] { [status.st_ctim.tv_sec, status.st_ctim.tv_nsec] }

    private static func noteSync(_ descriptor: Int32, _ state: inout State) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return }
        state.synced[status.st_ino] = changed(status)
        guard status.st_mode & S_IFMT == S_IFDIR else { return }
        let path = path(of: descriptor)
        state.listed[status.st_ino] = Set(entries(of: path))
        state.unsafeNames[path] = nil
    }

    private static func note(_ path: String, _ state: inout State) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        state.synced[status.st_ino] = changed(status)
        if status.st_mode & S_IFMT == S_IFDIR { state.listed[status.st_ino] = Set(entries(of: path)) }
    }

    private static func path(of descriptor: Int32) -> String {
        String(decoding: link("/proc/self/fd/\(descriptor)"), as: UTF8.self)
    }

    /// What a descriptor names, or what that lies in.
    private static func directory(of descriptor: Int32) -> String {
        var status = stat()
        let path = path(of: descriptor)
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR ? path : parent(path)
    }

    private static func noteRename(_ from: String, _ to: String, _ state: inout State) {
        state.renames += 1
        var status = stat()
        guard lstat(from, &status) == 0 else { return }
        state.unsafeNames[parent(to), default: []].insert(to)
        if state.listed[status.st_ino]?.contains("unsynced") == true, isSynced(from + "/unsynced", state) {
            state.marked.insert(to)
            return
        }
        for path in all(below: from) where !path.hasSuffix("/chunks") && !isSynced(path, state) {
            state.faults.append("\(to) appears, and \(path) is not on the disk")
        }
    }

    /// Whether the file or directory is on the disk as it is now.
    private static func isSynced(_ path: String, _ state: State) -> Bool {
        var status = stat()
        guard lstat(path, &status) == 0 else { return false }
        let kind = status.st_mode & S_IFMT
        // What has no content of its own is on the disk with its directory.
        guard kind == S_IFREG || kind == S_IFDIR else { return true }
        if kind == S_IFDIR { return state.listed[status.st_ino] == Set(entries(of: path)) }
        return state.synced[status.st_ino] == changed(status)
    }

    private static func all(below path: String) -> [String] {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return [path] }
        return [path] + entries(of: path).flatMap { all(below: path + "/" + $0) }
    }

    private static func entries(of path: String) -> [String] {
        guard let directory = try? FileDescriptor.directory(path) else { return [] }
        return ((try? names(in: directory, path)) ?? []).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func link(_ path: String) -> [UInt8] {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path, &buffer, buffer.count)
        return buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }
    }
}
