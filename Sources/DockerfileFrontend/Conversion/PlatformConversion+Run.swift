internal import FoundationEssentials
internal import LLB
internal import OCI

extension PlatformConversion {
    mutating func dispatchRun(_ run: Instruction.Run, _ step: StagePlan.Step, _ index: Int) throws(DockerfileError) {
        let instruction = step.instruction
        var assembly = ExecAssembly()
        var words = run.command.words
        var title = instruction.original
        if !run.heredocs.isEmpty { (words, title) = try inlined(run, instruction, &assembly, index) }
        if run.command.isShellForm { words = shell(index) + [words.joined(separator: " ")] }

        var mounts: [RunMount] = []
        for text in run.mountTexts { mounts.append(try mount(text, instruction, index)) }
        for (mount, source) in zip(mounts, step.sources) {
            try add(mount, source, instruction, &assembly, index)
        }
        if options.shmBytes > 0 {
            assembly.mounts.append(ExecAssembly.Mount(target: "/dev/shm", kind: .tmpfs(options.shmBytes)))
        }
        let plan = plans[index]
        assembly.meta.args = words
        assembly.meta.env = plan.environment.texts
        assembly.meta.cwd = plan.directory
        assembly.meta.user = plan.user
        assembly.meta.hostname = options.hostname
        assembly.meta.cgroupParent = options.cgroupParent
        assembly.meta.ulimit = options.ulimits
        assembly.meta.removeMountStubsRecursive = true
        assembly.meta.extraHosts = options.extraHosts.map {
            var host = Pb_HostIP()
            host.host = $0.host
            host.ip = $0.address
            return host
        }
        if let proxy = options.proxy { assembly.meta.proxyEnv = proxy }
        switch run.network {
        case .standard: assembly.network = options.network
        case .none: assembly.network = .none
        case .host: assembly.network = .host
        }
        assembly.security = run.isInsecure ? .insecure : .sandbox
        assembly.devices = run.devices.map {
            var device = Pb_CDIDevice()
            device.name = $0.name
            device.optional = !$0.isRequired
            return device
        }
        let name = stepName(
            index, shown(title, index, asShell: true, masking: mounts.compactMap { $0.kind == .secret ? $0.env : nil }))
        var metadata = Pb_OpMetadata.named(
            name, command: instruction.original, ignoresCache: plan.ignoresCache)
        if let resources = options.resources { metadata.linuxResources = resources }
        plans[index].root = assembly.add(
            to: &builder, root: plan.root, platform: plan.platform ?? target, metadata: metadata,
            locations: locations(instruction.lines))
        history(index, "RUN " + runText(words, index), makesLayer: true, isBuildKitStep: true)
    }

    /// `|2 A=1 B=2 /bin/sh -c …`: the build arguments in force, then the command.
    private func runText(_ words: [String], _ index: Int) -> String {
        let plan = plans[index]
        var texts = plan.arguments.map { $0.name + "=" + (plan.environment[$0.name] ?? $0.value ?? "") }
        if !texts.isEmpty { texts.insert("|\(texts.count)", at: 0) }
        return (texts + words).joined(separator: " ")
    }

    /// The command of a RUN with here-documents, and its name.
    private mutating func inlined(
        _ run: Instruction.Run, _ instruction: Instruction, _ assembly: inout ExecAssembly, _ index: Int
    ) throws(DockerfileError) -> ([String], String) {
        guard run.command.isShellForm, let line = run.command.words.first, let first = run.heredocs.first else {
            throw DockerfileError(
                .invalidInstruction, "parsing produced an invalid run command: \(GoText.listed(run.command.words))")
        }
        guard Heredoc(word: line) != nil else {
            // The shell understands here-documents itself.
            return ([line + run.heredocs.map { "\n" + $0.content + $0.name }.joined()], instruction.original)
        }
        let title = instruction.original + " (" + Self.summary(first.content) + ")"
        guard plans[index].image.os != "windows", first.content.hasPrefix("#!") else { return ([first.text], title) }
        let directory = "/dev/pipes/"
        var file = Pb_FileActionMkFile()
        file.path = "/" + first.name
        file.mode = 0o755
        file.data = Data(first.text.utf8)
        file.timestamp = -1
        let script = builder.addFile(
            [FileStep(file)], over: nil, metadata: .named("[internal] preparing inline document"))
        assembly.mounts.append(
            ExecAssembly.Mount(target: directory, kind: .bind, source: script, isReadOnly: true))
        return ([directory + first.name], title)
    }

    private static func summary(_ text: String) -> String {
        let lines = text.trimmed.split(whereSeparator: \.isNewline)
        return String(lines.first ?? "") + (lines.count > 1 ? "..." : "")
    }

    private mutating func mount(
        _ text: String, _ instruction: Instruction, _ index: Int
    ) throws(DockerfileError) -> RunMount {
        // Every `key=value` is expanded by itself, after the commas were found.
        let variables = plans[index].environment
        let escape = file.directives.escape
        return try RunMount(text) { (value) throws(DockerfileError) in
            try WordExpander.expand(value, options: .init(escape: escape)) { variables[$0] }.text
        }
    }

    private mutating func add(
        _ mount: RunMount, _ source: StagePlan.StepSource, _ instruction: Instruction, _ assembly: inout ExecAssembly,
        _ index: Int
    ) throws(DockerfileError) {
        switch mount.kind {
        case .secret: return assembly.addSecret(mount)
        case .ssh: return assembly.addAgent(mount)
        default: break
        }
        let target = SlashPath.resolve(mount.target, in: plans[index].directory)
        guard target != "/" else {
            throw DockerfileError(.invalidInstruction, "invalid mount target \(GoText.quoted(target))")
        }
        var exec = ExecAssembly.Mount(target: target, kind: .bind, isReadOnly: mount.isReadOnly)
        let path = SlashPath.rooted(mount.source)
        switch mount.kind {
        case .tmpfs:
            exec.kind = .tmpfs(mount.size)
            assembly.mounts.append(exec)
            return
        case .cache:
            let id = mount.id.isEmpty ? SlashPath.clean(mount.target) : mount.id
            exec.kind = .cache(options.cacheNamespace + "/" + id, mount.sharing ?? .shared)
            if !mount.from.isEmpty { exec.source = try edge(of: source, mount, path, index) }
        default: exec.source = try edge(of: source, mount, path, index)
        }
        if path != "/" {
            exec.selector = path
        } else if mount.uid != nil || mount.gid != nil || mount.mode != nil {
            var directory = Pb_FileActionMkDir()
            directory.path = "/cache"
            directory.mode = Int32(mount.mode ?? 0o755)
            directory.timestamp = -1
            directory.owner.user.byID = mount.uid ?? 0
            directory.owner.group.byID = mount.gid ?? 0
            exec.source = builder.addFile(
                [FileStep(directory)], over: exec.source,
                metadata: .named("[internal] setting cache mount permissions"))
            exec.selector = "/cache"
        }
        assembly.mounts.append(exec)
    }

    private mutating func edge(
        of source: StagePlan.StepSource, _ mount: RunMount, _ path: String, _ index: Int
    ) throws(DockerfileError) -> DefinitionBuilder.Edge? {
        switch source {
        case .scratch: return nil
        case .context:
            contextPaths.insert(path)
            return context
        case .plan(let number):
            guard number >= stageCount || plans[number].isDispatched else {
                throw DockerfileError(
                    .invalidInstruction,
                    "cannot mount from stage \(GoText.quoted(mount.from)) to \(GoText.quoted(mount.target)), "
                        + "stage needs to be defined before current command")
            }
            plans[number].usedPaths.insert(path)
            return plans[number].root
        }
    }
}
