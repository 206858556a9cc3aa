internal import GRPCCore

/// The builds of this node by the reference that their client chose.
///
/// A client opens `Solve`, `Status`, `Session` and the gateway calls at once, and they arrive in any order: whoever comes
/// before `Solve` waits for it here.
final class BuildRegistry: Sendable {
    /// How long a gateway call waits for its build.
    static let gatewayPatience = Duration.seconds(3)
    /// How long `Status` waits for its build.
    static let statusPatience = Duration.seconds(6)
    /// How long a finished build can still be asked for its status.
    static let afterlife = Duration.seconds(10)

    private let builds = Arrivals<ActiveBuild>()
    /// Ended builds in the order in which they ended, each with the time until which it is kept.
    private let retirements: AsyncStream<(ActiveBuild, ContinuousClock.Instant)>
    private let retired: AsyncStream<(ActiveBuild, ContinuousClock.Instant)>.Continuation

    init() { (retirements, retired) = AsyncStream.makeStream() }

    /// Makes a build known, before anything of it happens.
    ///
    /// A reference that is in use is refused; one whose build has ended may be used again.
    func register(_ build: ActiveBuild) throws(RPCError) {
        guard builds.insert(build, named: build.reference, replacing: { $0.hasEnded }) else {
            throw RPCError(code: .alreadyExists, message: "build \(build.reference) is under way already")
        }
    }

    /// Forgets a build that has ended, but not at once: a late `Status` still gets everything.
    func remove(_ build: ActiveBuild, after delay: Duration) { retired.yield((build, .now + delay)) }

    /// Forgets ended builds when their time is over, until the task is cancelled.
    func run() async {
        for await (build, end) in retirements {
            try? await Task.sleep(until: end)
            builds.remove(build, named: build.reference)
        }
    }

    /// The build of that reference, waiting for it for a while.
    ///
    /// - Throws: `NotFound` in BuildKit's words when no `Solve` came.
    func build(_ reference: String, within patience: Duration) async throws -> ActiveBuild {
        guard let build = try await builds.value(named: reference, within: patience) else {
            throw RPCError(code: .notFound, message: "no such job \(reference)")
        }
        return build
    }
}
