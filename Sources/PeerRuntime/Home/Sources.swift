internal import BuildSession
internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import LLB
internal import OCI
internal import Solver
internal import Synchronization
internal import Worker

/// Identifies sources at the home node, which has the client: what they are now, as a cache key.
///
/// Directories, layouts and downloads come with their tree; images are named by digest and pulled where they are needed.
struct Sources: Sendable {
    struct Identity: Sendable {
        var key: CacheKey
        var result: VertexResult?
    }

    let images: ImageSource
    let layouts: OCILayoutSource
    let downloads: HTTPSource
    let local: LocalSources
    let contents: ContentDigests
    let dialer: any PeerDialer
    let records: RecordIndex

    func identify(
        _ vertex: Vertex, build: BuildID, session: (any ClientSession)?, progress: @escaping OperationContext.Progress
    ) async throws -> Identity {
        guard case .source(let source) = vertex.operation.op else {
            throw VertexFailure("invalid LLB: op \(vertex.digest) is no source")
        }
        let parts = source.identifier.split(separator: "://", maxSplits: 1, omittingEmptySubsequences: false)
        let scheme = parts.first.map(String.init) ?? ""
        let name = parts.count > 1 ? String(parts[1]) : ""
        switch scheme {
        case "docker-image": return try await image(name, source, vertex, session)
        case "local": return try await directory(name, source, session, progress)
        case "oci-layout": return try await layout(name, source, vertex, session, progress)
        case "http", "https": return try await download(source, session, progress)
        default:
            throw VertexFailure(
                "source \"\(source.identifier)\" is of a kind that this node cannot read; "
                    + "use docker-image, oci-layout, local, http or https")
        }
    }

    private func image(
        _ name: String, _ source: Pb_SourceOp, _ vertex: Vertex, _ session: (any ClientSession)?
    ) async throws -> Identity {
        let reference = try Reference(parsing: name)
        let platform = vertex.platform ?? .host
        let limit = source.attrs["image.layerlimit"] ?? ""
        // A digest names the same image for ever: nothing has to be asked.
        var digest = reference.digest
        if digest == nil {
            digest = try await images.resolve(
                reference, platform: platform, mode: ImageResolveMode(attribute: source.attrs["image.resolvemode"]),
                credentials: SessionCredentials(session)
            ).digest
        }
        let identity = [digest?.description ?? "", platform.description, limit, source.attrs["image.checksum"] ?? ""]
        return Identity(key: CacheKeyAlgebra.sourceKey(kind: "image", identity: identity))
    }

    private func directory(
        _ name: String, _ source: Pb_SourceOp, _ session: (any ClientSession)?,
        _ progress: @escaping OperationContext.Progress
    ) async throws -> Identity {
        guard let session else { throw VertexFailure("no local sources enabled: the build has no client session") }
        let attributes = source.attrs
        let request = DirectoryRequest(
            name: name, includePatterns: try Self.list(attributes["local.includepattern"]),
            excludePatterns: try Self.list(attributes["local.excludepatterns"]),
            followPaths: try Self.list(attributes["local.followpaths"]),
            comparison: attributes["local.differ"] == "none" ? .none : .metadata)
        let label = "transferring \(name):"
        let received = Mutex<Int64>(0)
        let chain = try await local.tree(request, hint: attributes["local.sharedkeyhint"] ?? name, session: session) {
            bytes in
            received.withLock { $0 = bytes }
            progress(label, "transferring", bytes, 0, false)
        }
        // The last word has the sum: who reads slowly may not get those before it.
        progress(label, "transferring", received.withLock { $0 }, 0, true)
        return try contentIdentity(of: chain, kind: "local")
    }

    /// A tree that is here, keyed by its content.
    private func contentIdentity(of chain: LayerChain, kind: String) throws -> Identity {
        let digest = try contents.digest(chain, [ContentSelection(path: "/")])
        return Identity(
            key: CacheKeyAlgebra.sourceKey(kind: kind, identity: [digest.description]),
            result: VertexResult(outputs: [chain], holders: [dialer.selfID]))
    }

    private func layout(
        _ name: String, _ source: Pb_SourceOp, _ vertex: Vertex, _ session: (any ClientSession)?,
        _ progress: @escaping OperationContext.Progress
    ) async throws -> Identity {
        guard let session, let digest = Reference.layoutDigest(name) else {
            throw VertexFailure("oci-layout://\(name) needs a client session and a digest after @")
        }
        let platform = vertex.platform ?? .host
        let key = CacheKeyAlgebra.sourceKey(
            kind: "oci-layout",
            identity: [digest.description, platform.description, source.attrs["oci.layerlimit"] ?? ""])
        if let record = records.local(key) { return Identity(key: key, result: record.result) }
        let store = source.attrs["oci.store"] ?? ""
        let chain = try await layouts.fetch(
            digest, platform: platform, attributes: try ImageAttributes(attributes: source.attrs),
            in: SessionBlobs(session.contentStore("oci:" + store), name: "oci-layout://" + name), progress: progress)
        let result = VertexResult(outputs: [chain], holders: [dialer.selfID])
        try await records.add(
            FoundRecord(canonicalKey: key, result: result), key: key, aliases: [], cost: 0, name: vertex.name)
        return Identity(key: key, result: result)
    }

    private func download(
        _ source: Pb_SourceOp, _ session: (any ClientSession)?, _ progress: @escaping OperationContext.Progress
    ) async throws -> Identity {
        let chain = try await downloads.fetch(
            source.identifier, attributes: try HTTPAttributes(attributes: source.attrs),
            context: OperationContext(session: session, progress: progress))
        return try contentIdentity(of: chain, kind: "http")
    }

    private static func list(_ json: String?) throws -> [String] {
        guard let json else { return [] }
        return try JSONDecoder().decode([String].self, from: Data(json.utf8))
    }
}

extension Vertex {
    /// Whether the op is a source that only the home node can read; it ends with its identification.
    var isReadAtHome: Bool {
        guard case .source(let source) = operation.op else { return false }
        return !source.identifier.hasPrefix("docker-image://")
    }

    /// The platform that the op asks for; nil when it asks for none.
    var platform: Platform? {
        guard operation.hasPlatform, !operation.platform.architecture.isEmpty else { return nil }
        let platform = operation.platform
        return Platform(
            os: platform.os, architecture: platform.architecture,
            variant: platform.variant.isEmpty ? nil : platform.variant)
    }
}

extension Reference {
    /// The digest in `NAME[:tag]@sha256:…`; a layout's name need not be a registry's.
    static func layoutDigest(_ text: String) -> Digest? {
        text.split(separator: "@", maxSplits: 1).last.flatMap { Digest(String($0)) }
    }
}
