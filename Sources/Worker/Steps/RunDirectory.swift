internal import Glibc

/// A tmpfs for what steps need only while they run: bundles, secrets, sockets, the runtime's own state.
///
/// Memory backed, so that a secret never reaches a disk. Left over by a crash, it tells the next start what to clean.
struct RunDirectory {
    let path: String

    /// Where the runtime keeps its state.
    var runtimeState: String { "\(path)/state" }

    private static let groupFile = "cgroup"
    /// How long start-up waits for what a crash left to die.
    private static let cleanupRounds = 500

    /// Kills and removes what a crash left at `path`, then mounts it afresh.
    init(path: String) throws(OperationError) {
        self.path = path
        Self.cleanUp(path)
        try makeDirectory(path)
        let flags = UInt(MS_NOSUID | MS_NODEV | MS_NOEXEC)
        // noswap: Linux 6.4. An older kernel does not know it.
        guard
            mount("tmpfs", path, "tmpfs", flags, "mode=0700,noswap") == 0
                || mount("tmpfs", path, "tmpfs", flags, "mode=0700") == 0
        else { throw .system(call: "mount tmpfs at \(path)", code: errno) }
        try makeDirectory(runtimeState)
    }

    /// Makes the directory of one step and notes its control group for a start after a crash.
    func makeBundle(_ id: String, groups: ControlGroups) throws(OperationError) -> String {
        let bundle = "\(path)/\(id)"
        try makeDirectory(bundle)
        try Self.write(Array(groups.path.utf8), to: "\(bundle)/\(Self.groupFile)")
        return bundle
    }

    static func write(_ content: [UInt8], to path: String, mode: mode_t = 0o600) throws(OperationError) {
        let number = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode)
        guard number >= 0 else { throw .system(call: "create \(path)", code: errno) }
        try FileDescriptor(number).writeAll(content, name: path)
    }

    /// Removes a step's directory.
    func removeBundle(_ bundle: String) { FileTree.remove(bundle) }

    /// Unmounts the tmpfs.
    func close() {
        umount2(path, Int32(MNT_DETACH))
        rmdir(path)
    }

    private func makeDirectory(_ path: String) throws(OperationError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw .system(call: "mkdir \(path)", code: errno) }
    }

    private static func cleanUp(_ path: String) {
        for entry in DirectoryListing.names(path) ?? [] {
            let file = Glibc.open("\(path)/\(entry)/\(groupFile)", O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { continue }
            let content = try? FileDescriptor(file).readAll(bytesMax: Int(PATH_MAX), name: groupFile)
            guard let content, !content.isEmpty else { continue }
            ControlGroups(path: String(decoding: content, as: UTF8.self)).destroy(rounds: cleanupRounds)
        }
        while umount2(path, Int32(MNT_DETACH)) == 0 {}
        FileTree.remove(path)
    }
}
