internal import LLB

/// What a container is: the source of the runtime's `config.json` (OCI runtime spec 1.0.2).
struct ContainerSpecification {
    struct Mount {
        var destination: String
        var type: String
        var source: String
        var options: [String]
    }

    var rootPath: String
    var isRootReadOnly: Bool
    var arguments: [String]
    var environment: [String]
    var directory: String
    var user: StepUser
    var hostname: String
    var mounts: [Mount]
    var ulimits: [Pb_Ulimit]
    var resources: Pb_LinuxResources?
    var controlGroup: String
    var hasOwnNetwork: Bool
    var isInsecure: Bool
    var forbidsNewPrivileges: Bool

    /// Docker's default capabilities.
    static let defaultCapabilities = [
        "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ]

    private static let maskedPaths = [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]

    private static let readOnlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

    var encoded: [UInt8] {
        var members: [(String, JSONText)] = [
            ("ociVersion", "1.0.2"),
            ("process", process),
            ("root", .object([("path", .text(rootPath)), ("readonly", .boolean(isRootReadOnly))])),
            ("hostname", .text(hostname)),
            ("mounts", .array((systemMounts + mounts).map(Self.json))),
            ("linux", linux),
        ]
        if !isInsecure, let program = SeccompFilter.encodedProgram {
            members.append(("annotations", .object([(SeccompFilter.annotation, .text(program))])))
        }
        return JSONText.object(members).encoded()
    }

    private var process: JSONText {
        let capabilities =
            isInsecure ? Capabilities.ofThisProcess : Self.defaultCapabilities
        let set = JSONText.strings(capabilities)
        var groups: [(String, JSONText)] = [("uid", .number(Int64(user.uid))), ("gid", .number(Int64(user.gid)))]
        if !user.supplementaryGroups.isEmpty {
            groups.append(("additionalGids", .array(user.supplementaryGroups.map { .number(Int64($0)) })))
        }
        return .object([
            ("terminal", .boolean(false)),
            ("user", .object(groups)),
            ("args", .strings(arguments)),
            ("env", .strings(environment)),
            ("cwd", .text(directory)),
            ("capabilities", .object([("bounding", set), ("effective", set), ("permitted", set)])),
            ("rlimits", .array(ulimits.map(Self.json))),
            ("noNewPrivileges", .boolean(forbidsNewPrivileges && !isInsecure)),
        ])
    }

    private var systemMounts: [Mount] {
        let access = isInsecure ? "rw" : "ro"
        return [
            Mount(destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"]),
            Mount(
                destination: "/dev", type: "tmpfs", source: "tmpfs",
                options: ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            Mount(
                destination: "/dev/pts", type: "devpts", source: "devpts",
                options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            Mount(
                destination: "/dev/shm", type: "tmpfs", source: "shm",
                options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            Mount(
                destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"]),
            Mount(destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", access]),
            Mount(
                destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup",
                options: ["nosuid", "noexec", "nodev", "relatime", access]),
        ]
    }

    private var linux: JSONText {
        let names = ["pid", "ipc", "uts", "mount", "cgroup"] + (hasOwnNetwork ? ["network"] : [])
        var members: [(String, JSONText)] = [
            ("namespaces", .array(names.map { .object([("type", .text($0))]) })),
            ("cgroupsPath", .text(controlGroup)),
            ("resources", .object(resourceMembers)),
        ]
        if !isInsecure {
            members.append(("seccomp", SeccompProfile.specification))
            members.append(("maskedPaths", .strings(Self.maskedPaths)))
            members.append(("readonlyPaths", .strings(Self.readOnlyPaths)))
        }
        return .object(members)
    }

    private var resourceMembers: [(String, JSONText)] {
        var members: [(String, JSONText)] = [("devices", .array(isInsecure ? [Self.allDevices] : Self.devices))]
        guard let resources else { return members }
        var memory: [(String, JSONText)] = []
        if resources.memory != 0 { memory.append(("limit", .number(resources.memory))) }
        if resources.memorySwap != 0 { memory.append(("swap", .number(resources.memorySwap))) }
        if !memory.isEmpty { members.append(("memory", .object(memory))) }
        var cpu: [(String, JSONText)] = []
        if resources.cpuShares != 0 { cpu.append(("shares", .unsigned(resources.cpuShares))) }
        if resources.cpuPeriod != 0 { cpu.append(("period", .unsigned(resources.cpuPeriod))) }
        if resources.cpuQuota != 0 { cpu.append(("quota", .number(resources.cpuQuota))) }
        if !resources.cpusetCpus.isEmpty { cpu.append(("cpus", .text(resources.cpusetCpus))) }
        if !resources.cpusetMems.isEmpty { cpu.append(("mems", .text(resources.cpusetMems))) }
        if !cpu.isEmpty { members.append(("cpu", .object(cpu))) }
        return members
    }

    private static let allDevices: JSONText = .object([("allow", .boolean(true)), ("access", "rwm")])

    private static let devices: [JSONText] =
        [.object([("allow", .boolean(false)), ("access", "rwm")])]
        + DeviceRule.ofSteps.map { rule in
            var members: [(String, JSONText)] = [("allow", .boolean(true)), ("type", .text(rule.type.rawValue))]
            if let major = rule.major { members.append(("major", .number(major))) }
            if let minor = rule.minor { members.append(("minor", .number(minor))) }
            return .object(members + [("access", .text(rule.access))])
        }

    private static func json(_ mount: Mount) -> JSONText {
        .object([
            ("destination", .text(mount.destination)), ("type", .text(mount.type)), ("source", .text(mount.source)),
            ("options", .strings(mount.options)),
        ])
    }

    private static func json(_ limit: Pb_Ulimit) -> JSONText {
        .object([
            ("type", .text("RLIMIT_" + limit.name.uppercased())), ("hard", .number(limit.hard)),
            ("soft", .number(limit.soft)),
        ])
    }
}
