internal import CLinux
internal import Glibc
internal import LLB
internal import PathPatterns

/// What one action of a file op does to a mounted tree.
///
/// Blocks its thread.
struct FileActions {
    typealias Owner = (uid: UInt32, gid: UInt32)

    let tree: RootedTree
    private static let root: Owner = (0, 0)

    func makeFile(_ action: Pb_FileActionMkFile, owner: Owner?) throws {
        let location = try tree.resolve(action.path)
        guard !location.components.isEmpty else {
            throw OperationError.invalid("mkfile: \"\(action.path)\" is no file name")
        }
        let (parent, name) = try tree.openParent(of: location)
        let number = openat(
            parent.number, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode_t(action.mode & 0o777))
        guard number >= 0 else { throw OperationError.system(call: "create \(action.path)", code: errno) }
        try FileDescriptor(number).writeAll(action.data, name: action.path)
        try RootedTree.setMetadata(
            parent, name, owner: owner ?? Self.root,
            mode: location.exists ? nil : UInt32(truncatingIfNeeded: action.mode) & 0o777,
            time: Self.time(action.timestamp), shown: action.path)
    }

    func makeDirectory(_ action: Pb_FileActionMkDir, owner: Owner?) throws {
        let mode = UInt32(truncatingIfNeeded: action.mode) & 0o777
        let time = Self.time(action.timestamp)
        let location = try tree.resolve(action.path)
        if location.exists {
            guard tree.status(location).map({ $0.st_mode & S_IFMT == S_IFDIR }) == true else {
                throw OperationError.system(call: "mkdir \(action.path)", code: ENOTDIR)
            }
            return
        }
        if !action.makeParents, location.existing < location.components.count - 1 {
            throw OperationError.system(call: "mkdir \(action.path)", code: ENOENT)
        }
        try tree.makeDirectories(action.path, mode: mode, owner: owner ?? Self.root, time: time)
    }

    func makeLink(_ action: Pb_FileActionSymlink, owner: Owner?) throws {
        let location = try tree.resolve(action.newpath, followsLast: false)
        let (parent, name) = try tree.openParent(of: location)
        guard symlinkat(action.oldpath, parent.number, name) == 0 else {
            throw OperationError.system(call: "symlink \(action.newpath)", code: errno)
        }
        try RootedTree.setMetadata(
            parent, name, owner: owner ?? Self.root, mode: nil, time: Self.time(action.timestamp), shown: action.newpath
        )
    }

    func remove(_ action: Pb_FileActionRm) throws {
        let paths = action.allowWildcard ? try tree.expand(action.path) : [action.path]
        if paths.isEmpty, !action.allowNotFound { throw OperationError.notFound(path: action.path) }
        for path in paths {
            let location = try tree.resolve(path, followsLast: false)
            guard !location.components.isEmpty else {
                throw OperationError.invalid("rm: \"\(path)\" is the root directory")
            }
            guard location.exists else {
                guard action.allowNotFound else { throw OperationError.notFound(path: path) }
                continue
            }
            let (parent, name) = try tree.openParent(of: location)
            try RootedTree.removeTree(parent, name, shown: path)
        }
    }

    func copy(_ action: Pb_FileActionCopy, from source: RootedTree, owner: Owner?) throws {
        let paths = action.allowWildcard ? try source.expand(action.src) : [action.src]
        if paths.isEmpty {
            guard action.allowEmptyWildcard else { throw OperationError.notFound(path: action.src) }
            return
        }
        var copier = TreeCopier(try options(action, owner))
        var made: [RootedTree.Location] = []
        for path in paths {
            let place = try source.resolve(path, followsLast: action.followSymlink)
            guard place.exists, let status = source.status(place) else { throw OperationError.notFound(path: path) }
            for required in action.requiredPaths where try source.resolve("\(place.text)/\(required)").exists == false {
                throw OperationError.notFound(path: required.hasPrefix("/") ? required : "/\(required)")
            }
            if action.attemptUnpackDockerCompatibility, status.st_mode & S_IFMT == S_IFREG,
                try ArchiveUnpacker(tree: tree, owner: owner).unpack(source, place, into: action.dest)
            {
                continue
            }
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            let target = try prepareTarget(action, name: path, isDirectory: isDirectory, owner: owner, made: &made)
            try copier.copy(source, place, to: tree, target, overwritesMetadata: false)
        }
        // Again, as copying into them changed it.
        if let time = Self.time(action.timestamp) { try tree.setTimes(of: made, to: time) }
    }

    /// Decides where one source goes, and makes the directories that lead there.
    private func prepareTarget(
        _ action: Pb_FileActionCopy, name: String, isDirectory: Bool, owner: Owner?,
        made: inout [RootedTree.Location]
    ) throws -> RootedTree.Location {
        let isInto = action.dest.hasSuffix("/") || action.dest.hasSuffix("/.") || action.dest.isEmpty
        var path = action.dest.isEmpty ? "/" : action.dest
        let copiesContents = isDirectory && action.dirCopyContents
        let existing = try tree.resolve(path)
        let isThere = tree.status(existing).map { $0.st_mode & S_IFMT == S_IFDIR } ?? false
        if !action.createDestPath, existing.existing < existing.components.count - 1 {
            throw OperationError.notFound(path: action.dest)
        }
        if !copiesContents, isThere || isInto {
            let base = name.split(separator: "/").last.map(String.init) ?? ""
            path += "/" + base
        }
        let location = try tree.resolve(path, followsLast: isDirectory)
        let directory = copiesContents ? location.components : Array(location.components.dropLast())
        let parent = RootedTree.Location(components: directory, existing: 0)
        // A mode in figures is that of the directories that lead there too.
        let mode = action.modeStr.isEmpty && action.mode >= 0 ? UInt32(action.mode) & 0o777 : 0o755
        made += try tree.makeDirectories(parent.text, mode: mode, owner: owner ?? Self.root)
        return location
    }

    private func options(_ action: Pb_FileActionCopy, _ owner: Owner?) throws -> TreeCopier.Options {
        var options = TreeCopier.Options()
        options.owner = owner
        if !action.modeStr.isEmpty {
            options.mode = try CopyMode(symbolic: action.modeStr)
        } else if action.mode >= 0 {
            options.mode = .bits(UInt32(action.mode))
        }
        options.time = Self.time(action.timestamp)
        options.filter = try CopyFilter(includes: action.includePatterns, excludes: action.excludePatterns)
        options.replacesExisting = action.alwaysReplaceExistingDestPaths
        return options
    }

    /// Nanoseconds since 1970; -1 has no fixed time.
    private static func time(_ nanoseconds: Int64) -> timespec? {
        guard nanoseconds != -1 else { return nil }
        var seconds = nanoseconds / 1_000_000_000
        var rest = nanoseconds % 1_000_000_000
        if rest < 0 { (seconds, rest) = (seconds - 1, rest + 1_000_000_000) }
        return timespec(tv_sec: Int(seconds), tv_nsec: Int(rest))
    }
}
