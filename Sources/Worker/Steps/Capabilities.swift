internal import Glibc

/// The capabilities of Linux by number (capabilities(7)).
enum Capabilities {
    private static let names = [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
        "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
        "CHECKPOINT_RESTORE",
    ]

    /// All that this process has itself: more than that it cannot give.
    static let ofThisProcess: [String] = names.enumerated()
        .filter { permitted & (1 << UInt64($0.offset)) != 0 }.map { "CAP_" + $0.element }

    private static let permitted: UInt64 = {
        let number = open("/proc/self/status", O_RDONLY | O_CLOEXEC)
        guard number >= 0, let content = try? FileDescriptor(number).readAll(bytesMax: 1 << 20, name: "status") else {
            return 0
        }
        let lines = String(decoding: content, as: UTF8.self).split(separator: "\n")
        let masks = ["CapPrm:", "CapBnd:"].map { name in
            lines.first { $0.hasPrefix(name) }
                .flatMap { UInt64($0.dropFirst(name.count).drop { $0 == "\t" }, radix: 16) } ?? 0
        }
        return masks[0] & masks[1]
    }()
}
