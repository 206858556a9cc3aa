internal import BuildSession
internal import ClusterModel
internal import OCI
internal import Registry
internal import Solver
internal import Worker

/// The image exporter on the node that has the layers: they go from here to the registry.
struct ImagePush: Sendable {
    /// One platform's tree with what the frontend said of it.
    struct Item: Sendable {
        var platform: Platform
        var tree: Assignment.Input
        var config: [UInt8]?
        var baseConfig: [UInt8]?
    }

    /// What is pushed, and for whom.
    struct Request: Sendable {
        var build: BuildID
        var items: [Item]
        var attributes: [String: String]
        var metadata: [String: [UInt8]]
        var session: (any SessionServices)?
    }

    let loader: ImageLoader
    let registry: RegistryClient
    let fetcher: LayerFetcher

    /// - Returns: the exporter response and what was moved here for it.
    func run(
        _ request: Request, progress: @escaping OperationContext.Progress
    ) async throws -> (response: [String: String], moved: MovedBytes) {
        try await TransferTally.counting { try await export(request, progress) }
    }

    private func export(
        _ request: Request, _ progress: @escaping OperationContext.Progress
    ) async throws -> [String: String] {
        // Until the registry has all of it: an exporter reads the layers one after the other.
        let held = HeldLayers(fetcher.snapshots)
        defer { held.release() }
        for item in request.items {
            _ = try await fetcher.hold(TreeReading(tree: item.tree, selections: nil), in: held)
        }
        let items = request.items.map {
            ExportInput.Item(platform: $0.platform, chain: $0.tree.chain, config: $0.config, baseConfig: $0.baseConfig)
        }
        let fetcher = fetcher
        let exporter = ImageExporter(
            loader: loader, registry: registry, credentials: SessionCredentials(request.session),
            blobFetcher: { try await fetcher.fetchBlob($0) }, progress: progress)
        return try await exporter.exportImage(
            ExportInput(items: items, metadata: request.metadata, attributes: request.attributes))
    }
}
