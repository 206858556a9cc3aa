internal import BuildSession
package import ClusterModel
internal import Glibc
package import LLB
package import Snapshots
internal import Synchronization

/// Runs the steps of builds (LLB exec ops) in containers.
///
/// A cancelled step's container is killed and everything of it removed before `execute` throws `CancellationError`.
package final class StepExecutor: Sendable {
    /// Longest secret that is taken, as BuildKit has it.
    static let secretBytesMax = 500 << 10
    private static let defaultHostname = "buildkitsandbox"

    private let configuration: StepExecutorConfiguration
    private let snapshots: SnapshotStore
    private let runtime: ContainerRuntime
    private let runDirectory: RunDirectory
    private let caches: CacheMounts
    private let steps = Mutex(0)

    /// Finds the runtime and cleans up what a crash left of earlier steps.
    package init(configuration: StepExecutorConfiguration, snapshots: SnapshotStore) throws {
        self.configuration = configuration
        self.snapshots = snapshots
        runtime = try ContainerRuntime(configured: configuration.runtimePath)
        caches = try CacheMounts(root: "\(configuration.root)/cache-mounts")
        runDirectory = try RunDirectory(path: "\(configuration.root)/run")
    }

    /// Removes what belongs to the executor itself.
    ///
    /// No step may be running.
    package func shutdown() {
        runDirectory.close()
        ControlGroups(path: configuration.controlGroupParent).remove()
    }

    /// Runs the step and commits what it wrote: one result for each output index, nil where there is none.
    package func execute(
        _ op: Pb_ExecOp, platform: Pb_Platform?, resources: Pb_LinuxResources?, inputs: [LayerChain],
        context: OperationContext
    ) async throws -> [LayerChain?] {
        try Task.checkCancellation()
        try Self.check(op, context)
        try Emulation.check(platform)
        let request = try await gather(op, resources: resources, inputs: inputs, context: context)
        defer { for lease in request.caches.values { caches.release(lease) } }
        let cancellation = try CancellationSignal()
        let (connections, accepted) = AsyncStream<(agentID: String, socket: FileDescriptor)>.makeStream()
        return try await withTaskCancellationHandler {
            async let serving: Void = serve(connections, context.session)
            let result: Result<[LayerChain?], any Error>
            do {
                result = .success(
                    try await BlockingThread.run { [self] in
                        try run(request, cancellation) { accepted.yield((agentID: $0, socket: $1)) }
                    })
            } catch {
                result = .failure(error)
            }
            accepted.finish()
            await serving
            return try result.get()
        } onCancel: {
            cancellation.raise()
        }
    }

    private func serve(
        _ connections: AsyncStream<(agentID: String, socket: FileDescriptor)>, _ session: (any SessionServices)?
    ) async {
        guard let session else { return }
        await SSHForwarder.serve(connections, session: session)
    }

    /// A step with everything that had to be asked for.
    private struct Request: Sendable {
        var op: Pb_ExecOp
        var root: Pb_Mount
        /// All other mounts, parents first.
        var mounts: [Pb_Mount]
        var resources: Pb_LinuxResources?
        var inputs: [LayerChain]
        var secrets: StepMounts.Secrets = [:]
        var environmentSecrets: [(name: String, value: String)] = []
        /// By position in `mounts`.
        var caches: [Int: CacheMounts.Lease] = [:]
        var context: OperationContext
    }

    private static func check(_ op: Pb_ExecOp, _ context: OperationContext) throws(OperationError) {
        guard !op.meta.args.isEmpty else { throw .invalid("an exec op needs at least one argument") }
        if op.network == .host, !context.entitlements.contains("network.host") {
            throw .entitlementMissing("network.host")
        }
        if op.security == .insecure, !context.entitlements.contains("security.insecure") {
            throw .entitlementMissing("security.insecure")
        }
        if let device = op.cdiDevices.first(where: { !$0.optional }) {
            throw .unsupported("device \(device.name) is not available: this node offers no CDI devices")
        }
    }

    private func gather(
        _ op: Pb_ExecOp, resources: Pb_LinuxResources?, inputs: [LayerChain], context: OperationContext
    ) async throws -> Request {
        guard let root = op.mounts.first(where: { StepMounts.components($0.dest).isEmpty && $0.mountType == .bind })
        else { throw OperationError.invalid("an exec op needs a mount with destination /") }
        // SSH sockets without a destination have a default one, and stay where they are.
        let others = op.mounts.filter { !StepMounts.components($0.dest).isEmpty || $0.mountType == .ssh }
        let sorted = others.enumerated().sorted {
            let depths = (StepMounts.components($0.element.dest).count, StepMounts.components($1.element.dest).count)
            return depths.0 != depths.1 ? depths.0 < depths.1 : $0.offset < $1.offset
        }.map(\.element)
        var request = Request(
            op: op, root: root, mounts: sorted, resources: resources, inputs: inputs, context: context)
        for mount in sorted where mount.mountType == .secret {
            let option = mount.secretOpt
            if let content = try await secret(option.id, optional: option.optional, context) {
                request.secrets[option.id] = content
            }
        }
        for variable in op.secretenv {
            let content = try await secret(variable.id, optional: variable.optional, context)
            request.environmentSecrets.append((variable.name, String(decoding: content ?? [], as: UTF8.self)))
        }
        request.mounts = try await withoutMissingAgents(sorted, context)
        try await acquireCaches(&request)
        return request
    }

    private func secret(_ id: String, optional: Bool, _ context: OperationContext) async throws -> [UInt8]? {
        guard let content = try await context.session?.secret(id) else {
            guard optional else { throw OperationError.secretNotFound(id: id) }
            return nil
        }
        guard content.count <= Self.secretBytesMax else {
            throw OperationError.invalid("secret \(id) is larger than \(Self.secretBytesMax) bytes")
        }
        return content
    }

    private func withoutMissingAgents(_ mounts: [Pb_Mount], _ context: OperationContext) async throws -> [Pb_Mount] {
        var kept: [Pb_Mount] = []
        for mount in mounts {
            if mount.mountType == .ssh {
                let isThere = try await context.session?.hasSSHAgent(mount.sshopt.agentID) ?? false
                if !isThere, !mount.sshopt.optional {
                    throw OperationError.sshAgentNotFound(id: mount.sshopt.agentID)
                }
                if !isThere { continue }
            }
            kept.append(mount)
        }
        return kept
    }

    /// Takes cache directories in the order of their names, so that two steps with LOCKED ones cannot wait in a circle.
    private func acquireCaches(_ request: inout Request) async throws {
        let positions = request.mounts.indices.filter { request.mounts[$0].mountType == .cache }
        do {
            for position in positions.sorted(by: { request.mounts[$0].cacheOpt.id < request.mounts[$1].cacheOpt.id }) {
                let mount = request.mounts[position]
                guard mount.input < request.inputs.count else {
                    throw OperationError.invalid("mount \(mount.dest): input \(mount.input) is out of range")
                }
                request.caches[position] = try await caches.acquire(
                    mount.cacheOpt.id, sharing: mount.cacheOpt.sharing,
                    initial: mount.input >= 0 ? request.inputs[Int(mount.input)] : nil, selector: mount.selector)
            }
        } catch {
            for lease in request.caches.values { caches.release(lease) }
            throw error
        }
    }

    /// Runs on a thread of its own.
    private func run(
        _ request: Request, _ cancellation: CancellationSignal, accepted: (String, FileDescriptor) -> Void
    ) throws -> [LayerChain?] {
        let id = nextID()
        let meta = request.op.meta
        let parent = StepMounts.components(meta.cgroupParent).filter { $0 != ".." }
        let groups = ControlGroups(
            path: (parent.isEmpty ? configuration.controlGroupParent : "/" + parent.joined(separator: "/")) + "/\(id)")
        let bundle = try runDirectory.makeBundle(id, groups: groups)
        var tidying = StepTidying(runDirectory: runDirectory, bundle: bundle, groups: groups)
        defer { tidying.end() }
        let mounts = StepMounts(snapshots: snapshots, inputs: request.inputs, bundle: bundle)
        defer { mounts.release() }
        // A third of what is to be done before the container runs, and it needs nothing of the rest.
        let place = BlockingThread.begin { [self] in makePlace(request, groups) }
        tidying.place = place
        let specification = try prepare(request, mounts, bundle: bundle, groups: groups)
        try RunDirectory.write(specification.encoded, to: "\(bundle)/config.json")
        var log = StepLog(request.context.log)
        let outcome = try ContainerRun(
            runtime: runtime, stateDirectory: runDirectory.runtimeState, bundle: bundle, id: id, groups: groups,
            place: place.wait(),
            hiddenMounts: HiddenMounts.paths(keeping: [specification.rootPath] + specification.mounts.map(\.source))
        ).run(log: &log, cancellation: cancellation, sockets: mounts.sockets, accepted: accepted)
        // While the result is stored.
        tidying.begin()
        switch outcome {
        case .cancelled: throw CancellationError()
        case .notStarted(let reason): throw OperationError.notStarted(arguments: meta.args, reason: reason)
        case .exited(let code):
            let isValid = meta.validExitCodes.isEmpty ? code == 0 : meta.validExitCodes.contains(code)
            guard isValid else { throw failure(meta.args, code) }
        }
        return try mounts.commit()
    }

    /// The groups of a step without limits; the runtime makes those with limits.
    private func makePlace(_ request: Request, _ groups: ControlGroups) -> StepPlace? {
        guard runtime.canLeaveGroups, request.resources == nil else { return nil }
        return StepPlace.make(groups, devices: request.op.security == .insecure ? nil : DeviceRule.ofSteps)
    }

    private func nextID() -> String {
        "step-"
            + String(
                steps.withLock { count in
                    count += 1; return count
                })
    }

    private func prepare(
        _ request: Request, _ mounts: StepMounts, bundle: String, groups: ControlGroups
    ) throws -> ContainerSpecification {
        let meta = request.op.meta
        let root = try mounts.mountRoot(request.root)
        let hostname = meta.hostname.isEmpty ? Self.defaultHostname : meta.hostname
        try NetworkFiles.write(into: bundle, hostname: hostname, extraHosts: meta.extraHosts)
        for file in NetworkFiles.all { mounts.addFile("\(bundle)/\(file.name)", at: file.destination) }
        try mounts.add(request.mounts, caches: request.caches, cacheStore: caches, secrets: request.secrets)
        let accounts = try Accounts(of: root)
        let user: StepUser
        do throws(OperationError) { user = try StepUser.resolve(meta.user, accounts: accounts) } catch {
            throw OperationError.notStarted(arguments: meta.args, reason: error.description)
        }
        let directory = meta.cwd.isEmpty ? "/" : meta.cwd
        if let owner = mounts.owner(of: directory) {
            try owner.tree.makeDirectories(owner.path, mode: 0o755, owner: (user.uid, user.gid))
        }
        try mounts.makeStubs(removesParents: meta.removeMountStubsRecursive)
        return ContainerSpecification(
            rootPath: root.path, isRootReadOnly: request.root.readonly, arguments: meta.args,
            environment: StepEnvironment.variables(meta, secrets: request.environmentSecrets, user: user),
            directory: directory, user: user, hostname: hostname, mounts: mounts.mounts, ulimits: meta.ulimit,
            resources: request.resources, controlGroup: groups.path, hasOwnNetwork: request.op.network == .none,
            isInsecure: request.op.security == .insecure, forbidsNewPrivileges: configuration.forbidsNewPrivileges)
    }

    /// Free bytes below which a failed step is said to have failed for want of room.
    private static let fullDiskBytes: Int64 = 1 << 20

    private func failure(_ arguments: [String], _ code: Int32) -> OperationError {
        var status = statvfs()
        if statvfs(configuration.root, &status) == 0 {
            let free = Int64(status.f_bavail) * Int64(status.f_frsize)
            if free < Self.fullDiskBytes {
                return .diskFull(arguments: arguments, code: code, path: configuration.root, bytesFree: free)
            }
        }
        return .exit(arguments: arguments, code: code)
    }
}
