internal import Foundation
internal import Glibc
internal import OCI

/// A directory of one test with everything that it starts; `remove` takes all of it away.
final class Workspace: @unchecked Sendable {  // Used by one test, which runs its parts in order.
    /// Short, because the path of a socket has 107 bytes at most.
    let path: String
    private(set) var commands: [Command] = []
    private var namespaces: [String] = []
    private var mounts: [String] = []
    private var count = 0

    init() throws {
        let pattern = FileManager.default.temporaryDirectory.path + "/pbe2e-XXXXXX"
        var name = Array(pattern.utf8CString)
        guard mkdtemp(&name) != nil else {
            throw HarnessFailure("mkdtemp \(pattern): \(String(cString: strerror(errno)))")
        }
        path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    // MARK: Files

    @discardableResult
    func write(_ text: String, to name: String, mode: Int = 0o644) throws -> String {
        let file = path + "/" + name
        try FileManager.default.createDirectory(
            atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
        return file
    }

    /// A context with a Dockerfile and other files; gives its directory.
    func context(_ dockerfile: String, _ files: [String: String] = [:]) throws -> String {
        count += 1
        let name = "context\(count)"
        try write(dockerfile, to: name + "/Dockerfile")
        for (file, text) in files { try write(text, to: name + "/" + file) }
        return path + "/" + name
    }

    func text(of file: String) throws -> String { try String(contentsOfFile: file, encoding: .utf8) }

    // MARK: Programs

    func start(_ arguments: [String], environment: [String: String] = [:], as name: String? = nil) throws -> Command {
        count += 1
        let files = path + "/" + (name ?? "command\(count)")
        let command = try Command(arguments, environment: environment, files: files)
        commands.append(command)
        return command
    }

    func run(
        _ arguments: [String], environment: [String: String] = [:], within seconds: Double = 60
    ) async throws -> Command.Result {
        let command = try start(arguments, environment: environment)
        let result = try await command.end(within: seconds)
        // What has ended needs no end, and holds descriptors.
        commands.removeAll { $0 === command }
        command.removeFiles()
        return result
    }

    /// Runs a program that has to succeed.
    @discardableResult
    func check(_ arguments: [String]) async throws -> String {
        let result = try await run(arguments)
        guard result.status == 0 else {
            throw HarnessFailure("\(arguments.joined(separator: " ")) exits \(result.status): \(result.errors)")
        }
        return result.output
    }

    // MARK: The kernel's things

    func addNamespace(_ name: String) async throws {
        try await check(["ip", "netns", "add", name])
        namespaces.append(name)
        try await check(["ip", "-n", name, "link", "set", "lo", "up"])
    }

    /// A file system of a bounded size, gone with the workspace.
    func addMemoryFileSystem(_ name: String, bytes: Int) throws -> String {
        let directory = path + "/" + name
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        guard mount("tmpfs", directory, "tmpfs", 0, "size=\(bytes)") == 0 else {
            throw HarnessFailure("mount \(directory): \(String(cString: strerror(errno)))")
        }
        mounts.append(directory)
        return directory
    }

    // MARK: What is left

    /// Mounts below the roots of nodes, other than the workspace's own, and processes and control groups of steps.
    func leftovers(ofRoots roots: [String]) throws -> [String] {
        let table = try text(of: "/proc/self/mountinfo").split(separator: "\n").map(String.init)
        var found = table.filter { line in
            let point = line.split(separator: " ").dropFirst(4).first.map(String.init) ?? ""
            return point.hasPrefix(path + "/") && !mounts.contains(point)
        }
        found += try stepProcesses().map { "process \($0)" }
        for root in roots {
            found += Self.controlGroups(ofRoot: root)
            for directory in [
                "run", "work", "exports", "snapshots/work", "snapshots/staging", "snapshots/trash", "content/ingest",
            ] {
                let names = (try? FileManager.default.contentsOfDirectory(atPath: root + "/" + directory)) ?? []
                found += names.map { "\(root)/\(directory)/\($0)" }
            }
        }
        return found
    }

    /// A node names the control groups of its steps after its root directory.
    private static func controlGroups(ofRoot root: String) -> [String] {
        let group = "peerbuild-" + Digest.of(Array(root.utf8)).hex.prefix(12)
        let hierarchies = (try? FileManager.default.contentsOfDirectory(atPath: "/sys/fs/cgroup")) ?? []
        let places = ["/sys/fs/cgroup"] + hierarchies.map { "/sys/fs/cgroup/\($0)" }
        return places.map { "\($0)/\(group)" }.filter(FileManager.default.fileExists(atPath:))
    }

    /// Kills and removes what killed nodes left in their control groups.
    private func clearControlGroups() async {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        for group in names.flatMap({ Self.controlGroups(ofRoot: path + "/" + $0) }) {
            let steps = ((try? FileManager.default.contentsOfDirectory(atPath: group)) ?? []).map { group + "/" + $0 }
            for directory in steps + [group] {
                // Processes take a moment to leave their group.
                let _: Void? = try? await eventually("the end of \(directory)", within: 5) {
                    guard FileManager.default.fileExists(atPath: directory + "/cgroup.procs") else { return true }
                    let processes = (try? text(of: directory + "/cgroup.procs")) ?? ""
                    for pid in processes.split(separator: "\n").compactMap({ Int32($0) }) { kill(pid, SIGKILL) }
                    return rmdir(directory) == 0
                }
            }
        }
    }

    /// Processes of steps: other process and mount namespaces than ours, and a mount of this workspace.
    private func stepProcesses() throws -> [Int32] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }.filter { pid in
            for kind in ["pid", "mnt"] {
                let link = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/ns/\(kind)")
                let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/\(kind)")
                guard let link, link != own else { return false }
            }
            return ((try? String(contentsOfFile: "/proc/\(pid)/mountinfo", encoding: .utf8)) ?? "").contains(path + "/")
        }
    }

    /// Ends and removes everything, whatever state the test left it in.
    func remove() async {
        for command in commands where command.isRunning {
            command.send(SIGCONT)
            command.send(SIGTERM)
        }
        for command in commands where command.isRunning {
            _ = try? await command.end(within: 8)
        }
        for pid in (try? stepProcesses()) ?? [] { kill(pid, SIGKILL) }
        await clearControlGroups()
        for name in namespaces.reversed() { _ = try? await run(["ip", "netns", "del", name]) }
        let table = (try? text(of: "/proc/self/mountinfo")) ?? ""
        let points = table.split(separator: "\n").compactMap {
            $0.split(separator: " ").dropFirst(4).first.map(String.init)
        }
        for point in points.reversed() where point.hasPrefix(path + "/") { umount2(point, Int32(MNT_DETACH)) }
        // Whatever the table said: one of these outlived a test once, while other clusters mounted.
        for point in mounts { umount2(point, Int32(MNT_DETACH)) }
        if ProcessInfo.processInfo.environment["PEERBUILD_E2E_KEEP"] == nil {
            try? FileManager.default.removeItem(atPath: path)
        }
    }
}

/// Gives a test a workspace and takes it away however the test ends.
func withWorkspace(_ body: (Workspace) async throws -> Void) async throws {
    let workspace = try Workspace()
    do {
        try await body(workspace)
    } catch {
        await workspace.remove()
        throw error
    }
    await workspace.remove()
}
