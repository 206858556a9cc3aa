internal import Glibc

/// Mounts that an OCI runtime must not see on a node with control groups v1 beside a v2 hierarchy with controllers.
///
/// crun 1.8 refuses such a node. Detached in a mount namespace of its own, the v2 hierarchy is out of its sight; the
/// overlays of other steps go with it, as a namespace that keeps them would keep them alive after they are unmounted.
enum HiddenMounts {
    private static let bytesMax = 16 << 20

    /// Nil where nothing has to be hidden, which is every node with one kind of hierarchy.
    static func paths(keeping kept: [String]) throws(OperationError) -> [String]? {
        guard ControlGroups.isHybridWithControllers else { return nil }
        let number = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw .system(call: "open /proc/self/mountinfo", code: errno) }
        let content = try FileDescriptor(number).readAll(bytesMax: bytesMax, name: "/proc/self/mountinfo")
        var paths = ["\(ControlGroups.root)/unified"]
        for line in content.split(separator: UInt8(ascii: "\n")) {
            let text = String(decoding: line, as: UTF8.self)
            let fields = text.split(separator: " ")
            guard fields.count > 4, text.contains(" - overlay ") else { continue }
            let path = String(fields[4])
            if path != "/", !kept.contains(where: { $0 == path || $0.hasPrefix(path + "/") }) { paths.append(path) }
        }
        return paths
    }
}
