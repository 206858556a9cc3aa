internal import Glibc
internal import LLB
internal import OCI

/// Which platforms this machine can run programs of.
enum Emulation {
    private static let handlers = "/proc/sys/fs/binfmt_misc"

    /// Processors whose programs the host's own kernel and processor run.
    private static let compatible = ["amd64": ["386"], "arm64": ["arm"]]

    /// The names that QEMU's binfmt handlers have, where they differ from ours.
    private static let emulatorNames = [
        "amd64": "x86_64", "arm64": "aarch64", "386": "i386", "mipsle": "mipsel", "mips64le": "mips64el",
        "loong64": "loongarch64",
    ]

    /// Throws unless programs of the platform run here.
    ///
    /// An absent platform is the host's.
    static func check(_ platform: Pb_Platform?) throws(OperationError) {
        guard let platform, !platform.architecture.isEmpty else { return }
        let wanted = Platform(
            os: platform.os.isEmpty ? "linux" : platform.os, architecture: platform.architecture,
            variant: platform.variant.isEmpty ? nil : platform.variant)
        let host = Platform.host
        guard wanted.os == "linux" else {
            throw .platformUnsupported(requested: wanted.description, host: host.description)
        }
        if wanted.architecture == host.architecture { return }
        if compatible[host.architecture]?.contains(wanted.architecture) == true { return }
        let name = emulatorNames[wanted.architecture] ?? wanted.architecture
        guard isEnabled("\(handlers)/qemu-\(name)") else {
            throw .platformUnsupported(requested: wanted.description, host: host.description)
        }
    }

    /// Whether a handler is enabled and keeps its interpreter open (flag F), as a container has no file of it.
    private static func isEnabled(_ path: String) -> Bool {
        let number = open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0, let content = try? FileDescriptor(number).readAll(bytesMax: 4096, name: path) else {
            return false
        }
        let lines = String(decoding: content, as: UTF8.self).split(separator: "\n")
        return lines.first == "enabled" && lines.contains { $0.hasPrefix("flags:") && $0.contains("F") }
    }
}
