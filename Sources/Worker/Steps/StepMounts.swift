internal import BuildSession
internal import ClusterModel
internal import Glibc
internal import LLB
internal import Snapshots

/// Everything that a step mounts: made before it runs, turned into outputs or thrown away after.
///
/// Blocks its thread. `release` must be called once, whatever happened.
final class StepMounts {
    /// A secret of the client, fetched before anything is mounted.
    typealias Secrets = [String: [UInt8]]

    private struct Content {
        var destination: [String]
        /// Where mount points of nested mounts are made; nil where the runtime makes them.
        var tree: RootedTree?
    }

    private let snapshots: SnapshotStore
    private let inputs: [LayerChain]
    private let bundle: String
    private var works: [WorkSnapshot] = []
    private var views: [ViewSnapshot] = []
    private var outputs: [(index: Int, result: Output)] = []
    private var contents: [Content] = []
    private var stubs = MountStubs()
    private(set) var mounts: [ContainerSpecification.Mount] = []
    private(set) var sockets: [SSHSocket] = []

    private enum Output {
        case work(WorkSnapshot)
        case unchanged(LayerChain)
    }

    init(snapshots: SnapshotStore, inputs: [LayerChain], bundle: String) {
        self.snapshots = snapshots
        self.inputs = inputs
        self.bundle = bundle
    }

    /// The root file system, always writable underneath: mount points may be missing in a read-only one.
    func mountRoot(_ mount: Pb_Mount) throws -> RootedTree {
        let work = try prepare(mount)
        let path = try Self.locate(mount.selector, in: work.path, wantsDirectory: true)
        let tree = try RootedTree(path)
        contents.append(Content(destination: [], tree: tree))
        return tree
    }

    /// Adds the mounts besides the root, parents first.
    func add(
        _ all: [Pb_Mount], caches: [Int: CacheMounts.Lease], cacheStore: CacheMounts, secrets: Secrets
    ) throws {
        for (position, mount) in all.enumerated() {
            let nested = all.contains { Self.isBelow(Self.components($0.dest), Self.components(mount.dest)) }
            switch mount.mountType {
            case .bind: try addBind(mount, hasNested: nested)
            case .cache:
                guard let lease = caches[position] else { preconditionFailure("no lease for cache mount \(position)") }
                try addCache(mount, lease, cacheStore)
            case .tmpfs: addTmpfs(mount)
            case .secret: try addSecret(mount, position, secrets)
            case .ssh: try addSocket(mount, position)
            case .UNRECOGNIZED(let number):
                throw OperationError.unsupported("mount type \(number) of \(mount.dest) is unknown to this version")
            }
        }
    }

    /// A file that the node provides, such as `/etc/hosts`; never part of the result.
    func addFile(_ path: String, at destination: String) {
        mounts.append(bind(path, at: destination, ["ro"]))
        contents.append(Content(destination: Self.components(destination), tree: nil))
    }

    /// Makes the missing mount points.
    ///
    /// Call when all mounts are known.
    func makeStubs(removesParents: Bool) throws {
        let system = ["/proc", "/dev", "/sys"]
        for path in system { try makeStub(path, isDirectory: true, removesParents) }
        for mount in mounts {
            var status = stat()
            let isFile = mount.type == "bind" && stat(mount.source, &status) == 0 && status.st_mode & S_IFMT != S_IFDIR
            try makeStub(mount.destination, isDirectory: !isFile, removesParents)
        }
    }

    /// The tree in which `path` is found in the container, and the path in it; nil when the runtime makes it.
    func owner(of path: String) -> (tree: RootedTree, path: String)? {
        let components = Self.components(path)
        let owner = contents.filter { Self.isBelow(components, $0.destination) }
            .max { $0.destination.count < $1.destination.count }
        guard let owner, let tree = owner.tree else { return nil }
        return (tree, "/" + components.dropFirst(owner.destination.count).joined(separator: "/"))
    }

    private func makeStub(_ path: String, isDirectory: Bool, _ removesParents: Bool) throws {
        guard !Self.isSystem(path), let owner = owner(of: path) else { return }
        try stubs.add(owner.path, isDirectory: isDirectory, in: owner.tree, removesParents: removesParents)
    }

    /// Commits what the step wrote: a result for each output index.
    func commit() throws -> [LayerChain?] {
        stubs.remove()
        // Open directories keep a mount busy.
        stubs = MountStubs()
        contents = []
        var results: [LayerChain?] = []
        for (index, output) in outputs {
            while results.count <= index { results.append(nil) }
            switch output {
            case .unchanged(let chain): results[index] = chain
            case .work(let work):
                works.removeAll { $0 === work }
                results[index] = work.chain.appending(try snapshots.commit(work) ?? snapshots.emptyLayer())
            }
        }
        outputs = []
        return results
    }

    /// Throws away what was not committed and lets go of the inputs.
    func release() {
        stubs.remove()
        stubs = MountStubs()
        contents = []
        for work in works { snapshots.discard(work) }
        for view in views { view.release() }
        works = []
        views = []
    }

    private func prepare(_ mount: Pb_Mount) throws -> WorkSnapshot {
        let chain = try input(mount)
        let work = try snapshots.prepare(over: chain)
        works.append(work)
        if let index = try outputIndex(mount) {
            outputs.append((index, mount.readonly ? .unchanged(chain) : .work(work)))
        }
        return work
    }

    private func addBind(_ mount: Pb_Mount, hasNested: Bool) throws {
        var source: String
        if mount.readonly, !hasNested {
            let chain = try input(mount)
            let view = try snapshots.view(of: chain)
            views.append(view)
            if let index = try outputIndex(mount) { outputs.append((index, .unchanged(chain))) }
            source = view.path
        } else {
            source = try prepare(mount).path
        }
        source = try Self.locate(mount.selector, in: source, wantsDirectory: false)
        append(bind(source, at: mount.dest, mount.readonly ? ["ro"] : ["rw"]), at: mount.dest, content: source)
    }

    private func addCache(_ mount: Pb_Mount, _ lease: CacheMounts.Lease, _ store: CacheMounts) throws {
        try store.populate(lease) { path in
            guard mount.input >= 0 else { return }
            let view = try snapshots.view(of: try input(mount))
            defer { view.release() }
            let source = try Self.locate(mount.selector, in: view.path, wantsDirectory: true)
            try TreeCopier(.init()).copyContents(of: source, into: path)
        }
        append(bind(lease.path, at: mount.dest, mount.readonly ? ["ro"] : ["rw"]), at: mount.dest, content: lease.path)
    }

    private func addTmpfs(_ mount: Pb_Mount) {
        let size = mount.tmpfsOpt.size
        let options = ["nosuid"] + (mount.readonly ? ["ro"] : []) + (size > 0 ? ["size=\(size)"] : [])
        append(
            .init(destination: mount.dest, type: "tmpfs", source: "tmpfs", options: options), at: mount.dest,
            content: nil)
    }

    private func addSecret(_ mount: Pb_Mount, _ position: Int, _ secrets: Secrets) throws {
        let option = mount.secretOpt
        guard let content = secrets[option.id] else { return }
        let path = "\(bundle)/secret-\(position)"
        try RunDirectory.write(content, to: path)
        guard lchown(path, option.uid, option.gid) == 0, chmod(path, mode_t(option.mode & 0o777)) == 0 else {
            throw OperationError.system(call: "chown \(path)", code: errno)
        }
        append(bind(path, at: mount.dest, ["ro", "nosuid", "nodev", "noexec"]), at: mount.dest, content: nil)
    }

    private func addSocket(_ mount: Pb_Mount, _ position: Int) throws {
        let option = mount.sshopt
        let socket = try SSHSocket(
            directory: bundle, name: "ssh-\(position)", options: (option.uid, option.gid, option.mode),
            agentID: option.agentID)
        let destination = mount.dest.isEmpty ? "/run/buildkit/ssh_agent.\(sockets.count)" : mount.dest
        sockets.append(socket)
        append(bind(socket.path, at: destination, ["rw", "nosuid", "nodev", "noexec"]), at: destination, content: nil)
    }

    private func append(_ mount: ContainerSpecification.Mount, at destination: String, content: String?) {
        mounts.append(mount)
        contents.append(
            Content(destination: Self.components(destination), tree: content.flatMap { try? RootedTree($0) }))
    }

    private func bind(_ source: String, at destination: String, _ options: [String]) -> ContainerSpecification.Mount {
        .init(destination: destination, type: "bind", source: source, options: ["rbind", "rprivate"] + options)
    }

    private func input(_ mount: Pb_Mount) throws(OperationError) -> LayerChain {
        guard mount.input >= 0 else { return .scratch }
        guard mount.input < inputs.count else {
            throw .invalid("mount \(mount.dest): input \(mount.input) is out of range; the op has \(inputs.count)")
        }
        return inputs[Int(mount.input)]
    }

    /// Most outputs that one op may have: bounds what a message can make us allocate.
    private static let outputsMax = 1024

    private func outputIndex(_ mount: Pb_Mount) throws(OperationError) -> Int? {
        guard mount.output >= 0 else { return nil }
        guard mount.output < Self.outputsMax else {
            throw .invalid("mount \(mount.dest): output \(mount.output) is above \(Self.outputsMax - 1)")
        }
        return Int(mount.output)
    }

    /// The real path of a selector inside a tree; links in it never lead out.
    private static func locate(
        _ selector: String, in root: String, wantsDirectory: Bool
    ) throws(OperationError) -> String {
        guard !components(selector).isEmpty else { return root }
        let tree = try RootedTree(root)
        guard try tree.resolve(selector).exists else { throw .notFound(path: selector) }
        return try tree.open(selector, O_RDONLY | O_NONBLOCK | (wantsDirectory ? O_DIRECTORY : 0)).currentPath()
    }

    /// Below the runtime's own file systems it makes mount points itself.
    private static func isSystem(_ path: String) -> Bool {
        guard let first = components(path).first else { return true }
        return ["proc", "dev", "sys"].contains(first) && components(path).count > 1
    }

    static func components(_ path: String) -> [String] {
        path.split(separator: "/").map(String.init).filter { $0 != "." }
    }

    /// Whether `path` is strictly below `parent`.
    static func isBelow(_ path: [String], _ parent: [String]) -> Bool {
        path.count > parent.count && path.starts(with: parent)
    }
}

extension Pb_SSHOpt {
    /// The agent's name; `default` when the op names none.
    var agentID: String { id.isEmpty ? "default" : id }
}
