internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import LLB
internal import PeerRuntime
internal import SwiftProtobuf

/// `moby.buildkit.v1.frontend.LLBBridge`: what a client does inside a build that it leads itself.
struct GatewayService: Moby_Buildkit_V1_Frontend_LLBBridge.ServiceProtocol {
    typealias Frontend = Moby_Buildkit_V1_Frontend_LLBBridge

    let backend: any BuildBackend
    let builds: BuildRegistry
    let shutdown: ServerShutdown

    func ping(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_PingRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_PongResponse> {
        _ = try await build(of: request, context)
        return ServerResponse(
            message: .with {
                $0.frontendApicaps = Capabilities.frontend
                $0.llbcaps = Capabilities.llb
                $0.workers = [WorkerMessage.record(backend.worker)]
            })
    }

    /// Loads a definition or runs a frontend; the graph that comes of it stays lazy unless the client says otherwise.
    func solve(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_SolveRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_SolveResponse> {
        let message = request.message
        guard message.sourcePolicies.allSatisfy(\.rules.isEmpty) else { throw Self.noPolicies }
        return try await serve(request, context) { build, handle in
            let result: BuildResult
            if !message.frontend.isEmpty {
                let name = FrontendName.resolved(message.frontend, attributes: message.frontendOpt)
                result = try await handle.runFrontend(
                    name, attributes: message.frontendOpt, inputs: message.frontendInputs)
            } else if message.definition.def.isEmpty {
                result = BuildResult(references: .single(.scratch))
            } else {
                result = BuildResult(references: .single(try await handle.load(message.definition)))
            }
            for reference in result.allReferences {
                build.lend(reference)
                if message.evaluate, !reference.isScratch { try await handle.evaluate(reference) }
            }
            return try ResultMessage.response(result, to: message)
        }
    }

    /// Takes the client's result or error, which `Control.Solve` goes on with; answers at once.
    func `return`(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ReturnRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReturnResponse> {
        let build = try await build(of: request, context)
        if request.message.hasError {
            try build.giveBack(.failure(ReturnedError(status: request.message.error)))
        } else {
            try build.giveBack(.success(try ResultMessage.result(request.message.result, of: build)))
        }
        return ServerResponse(message: .init())
    }

    func inputs(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_InputsRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_InputsResponse> {
        let build = try await build(of: request, context)
        return ServerResponse(message: .with { $0.definitions = build.inputs })
    }

    func evaluate(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_EvaluateRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_EvaluateResponse> {
        let message = request.message
        return try await serve(request, context) { build, handle in
            let reference = try build.borrowed(message.ref)
            if !reference.isScratch { try await handle.evaluate(reference) }
            return .init()
        }
    }

    func warn(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_WarnRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_WarnResponse> {
        let message = request.message
        return try await serve(request, context) { _, handle in
            await handle.warn(try WarningMessage.warning(message))
            return .init()
        }
    }

    /// Runs one call of the gateway on its build, as a task that ends with the call, with failures as clients read them.
    func serve<Request: Sendable, Response: Sendable>(
        _ request: ServerRequest<Request>, _ context: ServerContext,
        _ body: @escaping @Sendable (ActiveBuild, any BuildHandle) async throws -> Response
    ) async throws -> ServerResponse<Response> {
        let build = try await build(of: request, context)
        let message = try await BuildFailure.translated {
            try await cancelledByClient(context, shutdown) { try await body(build, try await build.handle) }
        }
        return ServerResponse(message: message)
    }

    /// The build that a call names in its headers.
    private func build<Request: Sendable>(
        of request: ServerRequest<Request>, _ context: ServerContext
    ) async throws -> ActiveBuild {
        let names = request.metadata[stringValues: "buildkit-controlapi-buildid"]
        guard let reference = names.first(where: { !$0.isEmpty }) else {
            throw RPCError(code: .invalidArgument, message: "the header buildkit-controlapi-buildid is missing")
        }
        return try await cancelledByClient(context, shutdown) {
            try await builds.build(reference, within: BuildRegistry.gatewayPatience)
        }
    }

    static var noPolicies: RPCError {
        RPCError(code: .unknown, message: "source policies are not supported; build without a policy")
    }
}

extension BuildResult {
    /// Its references in a stable order.
    fileprivate var allReferences: [BuildReference] {
        switch references {
        case .none: []
        case .single(let reference): [reference]
        case .platforms(let references): references.sorted { $0.key < $1.key }.map(\.value)
        }
    }
}
