internal import OCI

/// Where steps keep their state and how they are confined.
package struct StepExecutorConfiguration: Sendable {
    /// The node's root directory; `cache-mounts` and `run` below it belong to the step executor.
    package var root: String
    /// The OCI runtime; nil searches `PATH` for crun, then runc.
    package var runtimePath: String?
    /// Control group under which steps without a parent of their own run; named after the root, so that several
    /// nodes on one machine do not share it.
    package var controlGroupParent: String
    /// Keeps programs with set-uid bits or file capabilities from gaining privileges.
    ///
    /// Off by default, as in BuildKit and Docker: `USER app` followed by `RUN sudo ...` must build (moby/buildkit#745).
    /// A step that starts as root has Docker's whole capability set anyway.
    package var forbidsNewPrivileges: Bool

    package init(
        root: String, runtimePath: String? = nil, controlGroupParent: String? = nil, forbidsNewPrivileges: Bool = false
    ) {
        self.root = root
        self.runtimePath = runtimePath
        let name = Digest.of(Array(root.utf8)).hex.prefix(12)
        self.controlGroupParent = controlGroupParent ?? "/peerbuild-\(name)"
        self.forbidsNewPrivileges = forbidsNewPrivileges
    }
}
