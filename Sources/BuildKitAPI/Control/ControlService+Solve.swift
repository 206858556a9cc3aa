internal import BuildKitProtocol
internal import BuildSession
internal import GRPCCore
internal import LLB
internal import Logging
internal import PeerRuntime
internal import SwiftProtobuf

/// A build from its request to its answer.
extension ControlService {
    func solve(
        request: ServerRequest<Moby_Buildkit_V1_SolveRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_SolveResponse> {
        let request = request.message
        try Self.refuseUnknown(request)
        let build = ActiveBuild(
            reference: request.ref, inputs: request.frontendInputs, hasExporters: !Self.exporters(request).isEmpty)
        try builds.register(build)
        do {
            let response = try await cancelledByClient(context, shutdown, onCancel: { await Self.abandon(build) }) {
                try await solve(request, as: build)
            }
            finish(build, with: CancellationError())
            return ServerResponse(message: .with { $0.exporterResponse = response })
        } catch {
            logger.debug("build failed", metadata: ["ref": "\(request.ref)", "error": "\(error)"])
            finish(build, with: error)
            throw BuildFailure.rpcError(for: error)
        }
    }

    private func solve(
        _ request: Moby_Buildkit_V1_SolveRequest, as build: ActiveBuild
    ) async throws -> [String: String] {
        var wanted = BuildRequest(reference: request.ref)
        if !request.session.isEmpty { wanted.session = try await sessions.session(request.session) }
        wanted.attributes = request.frontendAttrs
        wanted.exporters = Self.exporters(request)
        wanted.entitlements = Set(request.entitlements)
        wanted.cacheImports = request.cache.imports.map { CacheOption(type: $0.type, attributes: $0.attrs) }
        wanted.cacheExports = request.cache.exports.map { CacheOption(type: $0.type, attributes: $0.attrs) }
        wanted.isInternal = request.internal
        let handle = try await backend.beginBuild(wanted)
        build.begin(handle)
        do {
            return try await handle.finish(try await body(of: request, build: build, handle: handle))
        } catch {
            await handle.abandon(reason: "\(error)")
            throw error
        }
    }

    /// What is to be exported: made from the request's definition or by its frontend, or by the client itself, which
    /// then calls the gateway until it returns.
    private func body(
        of request: Moby_Buildkit_V1_SolveRequest, build: ActiveBuild, handle: any BuildHandle
    ) async throws -> BuildResult {
        if !request.frontend.isEmpty {
            let name = FrontendName.resolved(request.frontend, attributes: request.frontendAttrs)
            return try await handle.runFrontend(
                name, attributes: request.frontendAttrs, inputs: request.frontendInputs)
        }
        if request.hasDefinition, !request.definition.def.isEmpty {
            return BuildResult(references: .single(try await handle.load(request.definition)))
        }
        return try await handle.untilStopped { try await build.givenBack }
    }

    private func finish(_ build: ActiveBuild, with error: any Error) {
        build.end(error)
        builds.remove(build, after: BuildRegistry.afterlife)
    }

    /// Stops a build whose client is gone.
    ///
    /// A build that has not begun is stopped by its task's cancellation.
    private static func abandon(_ build: ActiveBuild) async {
        guard let handle = build.handleIfBegun else { return }
        await handle.abandon(reason: "context canceled")
    }

    private static func exporters(_ request: Moby_Buildkit_V1_SolveRequest) -> [ExporterRequest] {
        if !request.exporters.isEmpty {
            return request.exporters.map { ExporterRequest(type: $0.type, attributes: $0.attrs) }
        }
        guard !request.exporterDeprecated.isEmpty else { return [] }
        return [ExporterRequest(type: request.exporterDeprecated, attributes: request.exporterAttrsDeprecated)]
    }

    /// What would silently change a build's meaning if it were ignored.
    private static func refuseUnknown(_ request: Moby_Buildkit_V1_SolveRequest) throws(RPCError) {
        guard !request.ref.isEmpty else { throw RPCError(code: .invalidArgument, message: "Solve needs a Ref") }
        guard request.sourcePolicy.rules.isEmpty, request.sourcePolicySession.isEmpty else {
            throw RPCError(code: .unknown, message: "source policies are not supported; build without a policy")
        }
        // Ignored, it would let a pipeline believe that its cache was saved. An import that finds nothing is only slow.
        guard request.cache.exports.isEmpty else {
            throw RPCError(
                code: .unknown,
                message: "cache export is not supported; build without --cache-to: the cluster keeps its own cache")
        }
    }
}
