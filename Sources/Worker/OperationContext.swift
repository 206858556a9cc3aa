package import BuildSession

/// What an operation may use of the build that asked for it, besides its inputs.
package struct OperationContext: Sendable {
    /// Where output of a step goes: 1 is stdout, 2 is stderr.
    ///
    /// Pieces are raw and may split lines and characters.
    package typealias Log = @Sendable (_ stream: Int, _ bytes: [UInt8]) -> Void
    /// Progress of one thing inside the operation, such as a blob that is pulled; `total` is 0 while unknown.
    package typealias Progress =
        @Sendable (_ id: String, _ name: String, _ current: Int64, _ total: Int64, _ done: Bool) -> Void

    /// The client's session: secrets, SSH agents, registry credentials; nil when no client is behind the build.
    package var session: (any SessionServices)?
    /// What the client allowed and the node permits, such as `network.host` and `security.insecure`.
    package var entitlements: Set<String>
    package var log: Log
    package var progress: Progress
    package var buildID: String

    package init(
        session: (any SessionServices)? = nil, entitlements: Set<String> = [], buildID: String = "",
        log: @escaping Log = { _, _ in }, progress: @escaping Progress = { _, _, _, _, _ in }
    ) {
        self.session = session
        self.entitlements = entitlements
        self.buildID = buildID
        self.log = log
        self.progress = progress
    }
}
