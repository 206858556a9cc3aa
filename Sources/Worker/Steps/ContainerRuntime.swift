internal import Glibc

/// The OCI runtime program that runs containers.
struct ContainerRuntime {
    private static let names = ["crun", "runc"]
    private static let defaultSearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    let path: String

    /// Whether it can leave control groups to its caller, which is crun's own option.
    var canLeaveGroups: Bool { path.hasSuffix("/crun") }

    /// Uses the configured program, or the first one found.
    init(configured: String?) throws(OperationError) {
        if let configured {
            guard access(configured, X_OK) == 0 else { throw .runtimeMissing(searched: [configured]) }
            path = configured
            return
        }
        let directories = (getenv("PATH").map { String(cString: $0) } ?? Self.defaultSearchPath).split(separator: ":")
        let candidates = Self.names.flatMap { name in directories.map { "\($0)/\(name)" } }
        guard let found = candidates.first(where: { access($0, X_OK) == 0 }) else {
            throw .runtimeMissing(searched: Self.names.map { "\($0) in PATH" })
        }
        path = found
    }
}
