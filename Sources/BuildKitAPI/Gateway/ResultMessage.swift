internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import LLB
internal import PeerRuntime
internal import SwiftProtobuf

/// Results as they go to the client and come back from it.
enum ResultMessage {
    /// The answer to a gateway `Solve`, in the form that the client asked for.
    static func response(
        _ result: BuildResult, to request: Moby_Buildkit_V1_Frontend_SolveRequest
    ) throws(RPCError) -> Moby_Buildkit_V1_Frontend_SolveResponse {
        if request.allowResultReturn {
            return .with { $0.result = message(result, usesArrays: request.allowResultArrayRef) }
        }
        switch result.references {
        case .none: return .init()
        case .single(let reference): return .with { $0.ref = reference.id }
        case .platforms:
            throw RPCError(
                code: .unknown, message: "this client takes one result, but the build makes one a platform; update it")
        }
    }

    /// What a client gave back, with its references found again.
    static func result(
        _ message: Moby_Buildkit_V1_Frontend_Result, of build: ActiveBuild
    ) throws(RPCError) -> BuildResult {
        var result = BuildResult(references: .none, metadata: message.metadata.mapValues { Array($0) })
        switch message.result {
        case nil: break
        case .ref(let reference): result.references = try references(reference.id, of: build)
        case .refDeprecated(let id): result.references = try references(id, of: build)
        case .refs(let map): result.references = .platforms(try borrowed(map.refs.mapValues(\.id), of: build))
        case .refsDeprecated(let map): result.references = .platforms(try borrowed(map.refs, of: build))
        }
        return result
    }

    private static func message(_ result: BuildResult, usesArrays: Bool) -> Moby_Buildkit_V1_Frontend_Result {
        .with { message in
            message.metadata = result.metadata.mapValues { Data($0) }
            switch result.references {
            // An empty reference must be there: clients don't take its absence for "nothing".
            case .none: message.result = usesArrays ? .ref(.init()) : .refDeprecated("")
            case .single(let reference):
                message.result = usesArrays ? .ref(self.message(reference)) : .refDeprecated(reference.id)
            case .platforms(let references):
                message.result =
                    usesArrays
                    ? .refs(.with { $0.refs = references.mapValues(self.message) })
                    : .refsDeprecated(.with { $0.refs = references.mapValues(\.id) })
            }
        }
    }

    private static func message(_ reference: BuildReference) -> Moby_Buildkit_V1_Frontend_Ref {
        guard !reference.isScratch else { return .init() }
        return .with {
            $0.id = reference.id
            $0.def = reference.definition
        }
    }

    /// An empty id is nothing at all for a client's probe, and the empty file system where something is exported.
    private static func references(_ id: String, of build: ActiveBuild) throws(RPCError) -> BuildResult.References {
        if id.isEmpty, !build.hasExporters { return .none }
        return .single(try build.borrowed(id))
    }

    private static func borrowed(
        _ ids: [String: String], of build: ActiveBuild
    ) throws(RPCError) -> [String: BuildReference] {
        var references: [String: BuildReference] = [:]
        for (platform, id) in ids { references[platform] = try build.borrowed(id) }
        return references
    }
}
