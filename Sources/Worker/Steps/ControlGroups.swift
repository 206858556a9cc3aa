internal import Glibc

/// The control groups of one path, in every hierarchy that the node has: v2, or v1 with its several ones.
struct ControlGroups {
    static let root = "/sys/fs/cgroup"
    /// Deepest nesting below a step's group that is looked at.
    private static let depthMax = 16

    /// Such as `/peerbuild-1a2b/step-7`.
    let path: String

    /// Why runtimes refuse a v1 node: its v2 hierarchy beside v1 has controllers.
    ///
    /// It is hidden from them then.
    static let isHybridWithControllers: Bool = {
        guard let text = contentOf("\(root)/unified/cgroup.controllers") else { return false }
        return text.contains { !$0.isWhitespace }
    }()

    /// Whether the node has v2 groups only.
    static let isUnified = access("\(root)/cgroup.controllers", F_OK) == 0

    /// The v1 hierarchies, by the names of their directories.
    static let splitHierarchies = entries(of: root).filter {
        isDirectory("\(root)/\($0)") && access("\(root)/\($0)/tasks", F_OK) == 0
    }.sorted()

    /// The directories that exist for the path.
    private var directories: [String] {
        let candidates = [Self.root] + Self.entries(of: Self.root).map { "\(Self.root)/\($0)" }
        return candidates.map { $0 + path }.filter(Self.isDirectory)
    }

    /// Kills every process in the groups; gives how many were found.
    @discardableResult
    func killAll() -> Int {
        var pids: Set<pid_t> = []
        for directory in directories {
            let kill = Glibc.open("\(directory)/cgroup.kill", O_WRONLY | O_CLOEXEC)
            if kill >= 0 {
                _ = write(kill, "1", 1)
                close(kill)
            }
            Self.collect(directory, depth: 0, into: &pids)
        }
        for pid in pids { Glibc.kill(pid, SIGKILL) }
        return pids.count
    }

    /// Removes the groups with those below; true when none is left.
    @discardableResult
    func remove() -> Bool {
        var isEmpty = true
        for hierarchy in [""] + Self.entries(of: Self.root).map({ "/" + $0 }) {
            let directory = Self.root + hierarchy + path
            // Nearly all have none below: looking for one costs more than the removal.
            if rmdir(directory) == 0 || errno == ENOENT || errno == ENOTDIR { continue }
            Self.removeTree(directory, depth: 0)
            if Self.isDirectory(directory) { isEmpty = false }
        }
        return isEmpty
    }

    /// Kills until nothing is left and removes the groups; gives up after `rounds` of 10 ms.
    func destroy(rounds: Int) {
        for _ in 0..<rounds {
            killAll()
            if remove() { return }
            poll(nil, 0, 10)
        }
    }

    /// Attempts to kill what is left in groups that should be empty, of 10 ms each.
    private static let leaveRoundsMax = 300

    /// Removes groups whose processes have ended, and kills what has not.
    func leave() {
        if !remove() { destroy(rounds: Self.leaveRoundsMax) }
    }

    private static func collect(_ directory: String, depth: Int, into pids: inout Set<pid_t>) {
        let text = contentOf("\(directory)/cgroup.procs") ?? ""
        pids.formUnion(text.split(separator: "\n").compactMap { pid_t($0) })
        guard depth < depthMax else { return }
        for entry in entries(of: directory) where isDirectory("\(directory)/\(entry)") {
            collect("\(directory)/\(entry)", depth: depth + 1, into: &pids)
        }
    }

    private static func removeTree(_ directory: String, depth: Int) {
        if depth < depthMax {
            for entry in entries(of: directory) where isDirectory("\(directory)/\(entry)") {
                removeTree("\(directory)/\(entry)", depth: depth + 1)
            }
        }
        rmdir(directory)
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    static func contentOf(_ path: String) -> String? {
        let number = open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { return nil }
        let file = FileDescriptor(number)
        return (try? file.readAll(bytesMax: 4 << 20, name: path)).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func entries(of path: String) -> [String] { DirectoryListing.names(path) ?? [] }
}
