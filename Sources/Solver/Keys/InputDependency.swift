package import LLB

/// How the cache key of a vertex depends on one of its inputs.
package enum InputDependency: Hashable, Sendable {
    /// On the input's own cache key: cheap, known before anything runs.
    case definition
    /// On the bytes that the op reads there, whatever made them and whenever.
    case content([ContentSelection])
}

/// A part of a tree whose content an op reads.
package struct ContentSelection: Hashable, Sendable {
    /// Absolute path in the tree; with wildcards if `allowsWildcards`.
    package var path: String
    package var allowsWildcards: Bool
    /// Whether a symbolic link at `path` itself is followed.
    package var followsSymlinks: Bool
    package var includePatterns: [String]
    package var excludePatterns: [String]
    /// Paths below `path` that the op fails without; they count for no key.
    package var requiredPaths: [String]

    package init(
        path: String, allowsWildcards: Bool = false, followsSymlinks: Bool = true, includePatterns: [String] = [],
        excludePatterns: [String] = [], requiredPaths: [String] = []
    ) {
        self.path = path
        self.allowsWildcards = allowsWildcards
        self.followsSymlinks = followsSymlinks
        self.includePatterns = includePatterns
        self.excludePatterns = excludePatterns
        self.requiredPaths = requiredPaths
    }
}

extension InputDependency {
    /// The dependencies of each input of `vertex`, in input order.
    ///
    /// An input that becomes part of the result (a root file system, the base of a file op, a side of merge or diff)
    /// counts by definition. One that is only read counts by content: the source of a copy, a read-only mount, a mount
    /// whose writes are dropped.
    package static func all(of vertex: Vertex) -> [InputDependency] {
        all(of: vertex.operation, inputs: vertex.inputs.count)
    }

    private static func all(of operation: Pb_Op, inputs count: Int) -> [InputDependency] {
        switch operation.op {
        case .exec(let exec): dependencies(of: exec, count: count)
        case .file(let file): dependencies(of: file, count: count)
        default: Array(repeating: .definition, count: count)
        }
    }

    /// What the op reads of each of its inputs; nil where it may need all of it, or where a result is made on top of it.
    package static func reads(of operation: Pb_Op, inputs count: Int) -> [[ContentSelection]?] {
        all(of: operation, inputs: count).enumerated().map { index, dependency in
            guard case .content(let selections) = dependency else { return nil }
            if case .exec(let exec) = operation.op,
                exec.mounts.contains(where: { $0.input == Int64(index) && $0.output >= 0 })
            {
                return nil
            }
            return selections
        }
    }

    private static func dependencies(of exec: Pb_ExecOp, count: Int) -> [InputDependency] {
        (0..<count).map { index in
            let mounts = exec.mounts.filter { $0.input == Int64(index) }
            guard !mounts.isEmpty, mounts.allSatisfy(isRead) else { return .definition }
            return .content(mounts.map { ContentSelection(path: $0.selector.isEmpty ? "/" : $0.selector) })
        }
    }

    private static func isRead(_ mount: Pb_Mount) -> Bool {
        switch mount.contentCache {
        case .on: true
        case .off: false
        default: mount.mountType == .bind && (mount.readonly || mount.output < 0)
        }
    }

    private static func dependencies(of file: Pb_FileOp, count: Int) -> [InputDependency] {
        (0..<count).map { index in
            var selections: [ContentSelection] = []
            for action in file.actions {
                if action.input == Int64(index) || readsAccounts(action, ofInput: index) { return .definition }
                guard action.secondaryInput == Int64(index) else { continue }
                guard case .copy(let copy) = action.action else { return .definition }
                selections.append(
                    ContentSelection(
                        path: copy.src, allowsWildcards: copy.allowWildcard, followsSymlinks: copy.followSymlink,
                        includePatterns: copy.includePatterns, excludePatterns: copy.excludePatterns,
                        requiredPaths: copy.requiredPaths))
            }
            return selections.isEmpty ? .definition : .content(selections)
        }
    }

    /// Whether the action looks up user or group names in the input's `/etc/passwd` and `/etc/group`.
    private static func readsAccounts(_ action: Pb_FileAction, ofInput index: Int) -> Bool {
        let owner: Pb_ChownOpt
        switch action.action {
        case .copy(let copy): owner = copy.owner
        case .mkfile(let file): owner = file.owner
        case .mkdir(let directory): owner = directory.owner
        case .symlink(let link): owner = link.owner
        default: return false
        }
        return [owner.user, owner.group].contains { option in
            if case .byName(let name) = option.user { return name.input == Int64(index) }
            return false
        }
    }
}
