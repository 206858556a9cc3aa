internal import CLinux
internal import Glibc

/// The control groups in which a step's runtime starts, made before it.
///
/// Moving a running process into a group waits for an RCU grace period, 10 ms and more, whenever no other was moved just
/// before (cgroup_threadgroup_rwsem in the kernel's cgroup.c). A process that is born in its group (CLONE_INTO_CGROUP,
/// v2), or moves itself while it has one thread (`tasks`, v1), waits for nothing; the runtime then moves nothing.
struct StepPlace {
    /// The `tasks` files of the v1 groups.
    var taskFiles: [String]?
    /// The directory of the v2 group.
    var group: FileDescriptor?

    /// Makes the groups; nil where this node can't, so that the runtime tries in its way and says what is wrong.
    ///
    /// `rules` says what is allowed with device nodes; nil is everything.
    static func make(_ groups: ControlGroups, devices rules: [DeviceRule]?) -> StepPlace? {
        let place = ControlGroups.isUnified ? unified(groups, rules) : split(groups, rules)
        if place == nil { groups.remove() }
        return place
    }

    private static func unified(_ groups: ControlGroups, _ rules: [DeviceRule]?) -> StepPlace? {
        let path = ControlGroups.root + groups.path
        guard makeDirectories(path, below: ControlGroups.root, each: { _ in true }) else { return nil }
        let number = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { return nil }
        let group = FileDescriptor(number)
        if let rules {
            let raw = rules.map(\.raw)
            guard clinux_restrict_devices(number, raw, raw.count) == 0 else { return nil }
        }
        return StepPlace(group: group)
    }

    private static func split(_ groups: ControlGroups, _ rules: [DeviceRule]?) -> StepPlace? {
        var files: [String] = []
        for hierarchy in ControlGroups.splitHierarchies {
            let root = "\(ControlGroups.root)/\(hierarchy)"
            // A group without processors and memory nodes takes no process (cgroup-v1/cpusets).
            let isReady = makeDirectories(root + groups.path, below: root) { directory in
                !hierarchy.contains("cpuset") || ["cpuset.cpus", "cpuset.mems"].allSatisfy { inherit($0, directory) }
            }
            guard isReady else { return nil }
            if let rules, hierarchy.split(separator: ",").contains("devices") {
                guard restrict(root + groups.path, rules) else { return nil }
            }
            files.append("\(root)\(groups.path)/tasks")
        }
        return files.isEmpty ? nil : StepPlace(taskFiles: files)
    }

    private static func restrict(_ directory: String, _ rules: [DeviceRule]) -> Bool {
        write(["a"], to: "\(directory)/devices.deny")
            && write(rules.map(\.line), to: "\(directory)/devices.allow")
    }

    /// Makes what is missing of `path`, from its end on; `each` completes a directory that was made, false when it can't.
    private static func makeDirectories(_ path: String, below root: String, each: (String) -> Bool) -> Bool {
        if mkdir(path, 0o755) == 0 { return each(path) }
        if errno == EEXIST { return true }
        guard errno == ENOENT, path.utf8.count > root.utf8.count, let end = path.lastIndex(of: "/"),
            makeDirectories(String(path[..<end]), below: root, each: each), mkdir(path, 0o755) == 0 || errno == EEXIST
        else { return false }
        return each(path)
    }

    /// Gives a new group the value of the one above.
    private static func inherit(_ file: String, _ directory: String) -> Bool {
        // Nil above the hierarchy's root.
        guard let own = ControlGroups.contentOf("\(directory)/\(file)") else { return false }
        if own.contains(where: { !$0.isWhitespace }) { return true }
        // Another step may have made the group above a moment ago, and not given it its value yet.
        guard inherit(file, "\(directory)/.."),
            let value = ControlGroups.contentOf("\(directory)/../\(file)")
        else { return false }
        return write([value], to: "\(directory)/\(file)")
    }

    /// Writes each text at once, as these files want it.
    private static func write(_ texts: [String], to path: String) -> Bool {
        let number = open(path, O_WRONLY | O_CLOEXEC)
        guard number >= 0 else { return false }
        let file = FileDescriptor(number)
        return texts.allSatisfy { (try? file.writeAll(Array($0.utf8), name: path)) != nil }
    }
}
