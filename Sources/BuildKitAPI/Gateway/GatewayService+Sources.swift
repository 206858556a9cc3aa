internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import LLB
internal import OCI
internal import PeerRuntime
internal import SwiftProtobuf

/// What a source is now: digests and image configs.
extension GatewayService {
    func resolveSourceMeta(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ResolveSourceMetaResponse> {
        let message = request.message
        guard message.sourcePolicies.allSatisfy(\.rules.isEmpty) else { throw Self.noPolicies }
        return try await serve(request, context) { _, handle in
            let isImage = Self.isImage(message.source.identifier)
            let resolved = try await handle.resolveSource(
                message.source, platform: message.hasPlatform ? WorkerMessage.platform(message.platform) : nil,
                resolveMode: message.resolveMode, needsConfig: isImage && !message.image.noConfig)
            return .with { response in
                response.source = resolved.source
                let digest = resolved.digest?.description ?? ""
                if isImage {
                    response.image = .with {
                        $0.digest = digest
                        $0.config = Data(resolved.config)
                    }
                } else if Self.isHTTP(message.source.identifier) {
                    response.http = .with { $0.checksum = digest }
                }
            }
        }
    }

    func resolveImageConfig(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ResolveImageConfigRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ResolveImageConfigResponse> {
        let message = request.message
        guard message.sourcePolicies.allSatisfy(\.rules.isEmpty) else { throw Self.noPolicies }
        return try await serve(request, context) { _, handle in
            let resolved = try await handle.resolveSource(
                Self.source(of: message),
                platform: message.hasPlatform ? WorkerMessage.platform(message.platform) : nil,
                resolveMode: message.resolveMode, needsConfig: true)
            return .with {
                $0.digest = resolved.digest?.description ?? ""
                $0.config = Data(resolved.config)
                let identifier = resolved.source.identifier
                $0.ref = identifier.firstRange(of: "://").map { String(identifier[$0.upperBound...]) } ?? identifier
            }
        }
    }

    /// Type 1 is an OCI layout that the session offers, anything else a registry.
    private static func source(of message: Moby_Buildkit_V1_Frontend_ResolveImageConfigRequest) -> Pb_SourceOp {
        .with {
            guard message.resolverType == 1 else {
                $0.identifier = "docker-image://" + message.ref
                return
            }
            $0.identifier = "oci-layout://" + message.ref
            $0.attrs["oci.store"] = message.storeID
            if !message.sessionID.isEmpty { $0.attrs["oci.session"] = message.sessionID }
        }
    }

    private static func isImage(_ identifier: String) -> Bool {
        identifier.hasPrefix("docker-image://") || identifier.hasPrefix("oci-layout://")
    }

    private static func isHTTP(_ identifier: String) -> Bool {
        identifier.hasPrefix("http://") || identifier.hasPrefix("https://")
    }
}
