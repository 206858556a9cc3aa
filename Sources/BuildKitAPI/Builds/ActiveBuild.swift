internal import GRPCCore
internal import LLB
internal import PeerRuntime
internal import Synchronization

/// One build between its `Solve` and the end of its status: what the calls of its client share.
final class ActiveBuild: Sendable {
    let reference: String
    /// The named definitions that came with `Control.Solve`.
    let inputs: [String: Pb_Definition]
    /// Whether an exporter waits for the result.
    let hasExporters: Bool

    private struct State {
        var references: [String: BuildReference] = [:]
        var hasEnded = false
    }

    private let state = Mutex(State())
    private let begun = Promise<any BuildHandle>()
    private let returned = Promise<BuildResult>()

    init(reference: String, inputs: [String: Pb_Definition], hasExporters: Bool) {
        self.reference = reference
        self.inputs = inputs
        self.hasExporters = hasExporters
    }

    /// The backend's side of the build, once it has begun.
    var handle: any BuildHandle {
        get async throws { try await begun.value }
    }

    /// The backend's side of the build; nil when it has not begun or never will.
    var handleIfBegun: (any BuildHandle)? { try? begun.outcome?.get() }

    /// Whether `Control.Solve` has its answer.
    var hasEnded: Bool { state.withLock { $0.hasEnded } }

    func begin(_ handle: any BuildHandle) { begun.fulfil(handle) }

    /// Lets go of everyone who waits for the build to begin or to return.
    func end(_ error: any Error) {
        state.withLock { $0.hasEnded = true }
        begun.fail(error)
        returned.fail(error)
    }

    /// Gives a reference to the client, which names it by its id from then on.
    func lend(_ reference: BuildReference) {
        guard !reference.isScratch else { return }
        state.withLock { $0.references[reference.id] = reference }
    }

    /// The reference that was lent under an id; scratch for the empty id.
    func borrowed(_ id: String) throws(RPCError) -> BuildReference {
        guard !id.isEmpty else { return .scratch }
        guard let reference = state.withLock({ $0.references[id] }) else {
            throw RPCError(code: .unknown, message: "no such ref: \(id)")
        }
        return reference
    }

    /// The client's `Return`, which `Control.Solve` waits for; only the first counts.
    func giveBack(_ result: Result<BuildResult, any Error>) throws(RPCError) {
        let isFirst =
            switch result {
            case .success(let result): returned.fulfil(result)
            case .failure(let error): returned.fail(error)
            }
        guard isFirst else {
            throw RPCError(code: .failedPrecondition, message: "build \(reference) has returned already")
        }
    }

    /// What the client gave back.
    var givenBack: BuildResult {
        get async throws { try await returned.value }
    }
}
