internal import LLB
internal import OCI

/// The parts of an exec op before mounts and inputs have their numbers.
struct ExecAssembly {
    struct Mount {
        enum Kind: Hashable {
            case bind
            case cache(String, RunMount.Sharing)
            /// Bytes; 0 is no limit.
            case tmpfs(Int64)
        }

        var target: String
        var kind: Kind
        var source: DefinitionBuilder.Edge?
        var selector = ""
        var isReadOnly = false
        /// The root file system: the only mount whose changes are kept.
        var isRoot = false
    }

    var meta = Pb_Meta()
    var mounts: [Mount] = []
    var secretMounts: [Pb_Mount] = []
    var secretVariables: [Pb_SecretEnv] = []
    var agents: [Pb_Mount] = []
    var network = Pb_NetMode.unset
    var security = Pb_SecurityMode.sandbox
    var devices: [Pb_CDIDevice] = []

    mutating func addSecret(_ mount: RunMount) {
        var id = mount.source.isEmpty ? mount.id : mount.source
        if id.isEmpty { id = SlashPath.base(mount.target) }
        if let name = mount.env {
            var variable = Pb_SecretEnv()
            variable.id = id
            variable.name = name
            variable.optional = !mount.isRequired
            secretVariables.append(variable)
            if mount.target.isEmpty { return }
        }
        var message = Pb_Mount()
        message.input = -1
        message.dest = mount.target.isEmpty ? "/run/secrets/" + SlashPath.base(id) : mount.target
        message.mountType = .secret
        message.secretOpt.id = id
        message.secretOpt.uid = mount.uid ?? 0
        message.secretOpt.gid = mount.gid ?? 0
        message.secretOpt.mode = mount.mode ?? 0o400
        message.secretOpt.optional = !mount.isRequired
        secretMounts.append(message)
    }

    mutating func addAgent(_ mount: RunMount) {
        var message = Pb_Mount()
        message.input = -1
        message.dest = mount.target.isEmpty ? "/run/buildkit/ssh_agent.\(agents.count)" : mount.target
        message.mountType = .ssh
        message.sshopt.id = mount.id.isEmpty ? "default" : mount.id
        message.sshopt.uid = mount.uid ?? 0
        message.sshopt.gid = mount.gid ?? 0
        message.sshopt.mode = mount.mode ?? 0o600
        message.sshopt.optional = !mount.isRequired
        agents.append(message)
    }

    /// Numbers mounts and inputs and adds the op; gives the new root file system.
    func add(
        to builder: inout DefinitionBuilder, root: DefinitionBuilder.Edge?, platform: Platform,
        metadata: Pb_OpMetadata, locations: [Pb_Location]
    ) -> DefinitionBuilder.Edge {
        var exec = Pb_ExecOp()
        exec.meta = meta
        if let agent = agents.first, !meta.env.contains(where: { $0.hasPrefix("SSH_AUTH_SOCK=") }) {
            exec.meta.env.append("SSH_AUTH_SOCK=" + agent.dest)
        }
        exec.network = network
        exec.security = security
        exec.secretenv = secretVariables
        exec.cdiDevices = devices
        var inputs: [DefinitionBuilder.Edge] = []
        let all = mounts + [Mount(target: "/", kind: .bind, source: root, isRoot: true)]
        let sorted = all.enumerated().sorted { ($0.element.target, $0.offset) < ($1.element.target, $1.offset) }
        for (_, mount) in sorted {
            var message = Pb_Mount()
            message.input = -1
            if let source = mount.source {
                if !inputs.contains(source) { inputs.append(source) }
                message.input = Int64(inputs.firstIndex(of: source) ?? 0)
            }
            message.dest = mount.target
            message.selector = mount.selector
            message.readonly = mount.isReadOnly
            message.output = mount.isRoot ? 0 : -1
            switch mount.kind {
            case .bind: message.mountType = .bind
            case .cache(let id, let sharing):
                message.mountType = .cache
                message.cacheOpt.id = id
                switch sharing {
                case .shared: message.cacheOpt.sharing = .shared
                case .private: message.cacheOpt.sharing = .private
                case .locked: message.cacheOpt.sharing = .locked
                }
            case .tmpfs(let size):
                message.mountType = .tmpfs
                message.tmpfsOpt.size = size
            }
            exec.mounts.append(message)
        }
        exec.mounts += secretMounts + agents
        return builder.add(.exec(exec), inputs: inputs, platform: platform, metadata: metadata, locations: locations)
    }
}
