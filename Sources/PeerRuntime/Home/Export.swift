internal import BuildSession
internal import ClusterModel
internal import Foundation
internal import LLB
internal import Logging
internal import OCI
internal import Snapshots
internal import Solver
internal import Synchronization
internal import Worker

/// Runs a build's exporters over its result.
struct Export: Sendable {
    let build: Build
    let node: NodeParts

    /// - Returns: the exporter response: the keys that clients read.
    func run(_ result: BuildResult) async throws -> [String: String] {
        let exporters = build.request.exporters
        guard !exporters.isEmpty else {
            try await build.evaluateAll(result)
            return [:]
        }
        if case .none = result.references { return [:] }
        let trees = try await build.trees(of: result)
        var response: [String: String] = [:]
        for (index, exporter) in exporters.enumerated() {
            // What fetches the trees counts itself.
            let (keys, moved) = try await TransferTally.counting {
                try await export(exporter, index: index, trees, result)
            }
            build.progress.addExport(moved)
            response.merge(keys) { $1 }
        }
        return response
    }

    private func export(
        _ exporter: ExporterRequest, index: Int, _ trees: [Build.Tree], _ result: BuildResult
    ) async throws -> [String: String] {
        let name =
            switch exporter.type {
            case "image": "exporting to image"
            case "oci": "exporting to oci image format"
            case "docker": "exporting to docker image format"
            case "tar": "exporting to client tarball"
            case "local": "exporting to client directory"
            default:
                throw BuildError(
                    "exporter \"\(exporter.type)\" could not be found; use image, oci, docker, tar or local")
            }
        return try await build.progress.around(name) { vertex in
            let progress: OperationContext.Progress = { [progress = build.progress] id, name, current, total, done in
                progress.status(of: vertex, id: id, name: name, current: current, total: total, done: done)
            }
            if exporter.type == "image" { return try await push(exporter, trees, result, progress) }
            let held = HeldLayers(node.snapshots)
            defer { held.release() }
            let input = input(exporter, try await build.fetch(trees, in: held), result)
            switch exporter.type {
            case "tar": return try await tar(input, index, progress)
            case "local": return try await directory(input, index, progress)
            default: return try await archive(exporter, input, index, progress)
            }
        }
    }

    private func attributes(of exporter: ExporterRequest) -> [String: String] {
        var attributes = exporter.attributes
        if attributes["source-date-epoch"] == nil, let epoch = build.request.attributes["build-arg:SOURCE_DATE_EPOCH"] {
            attributes["source-date-epoch"] = epoch
        }
        return attributes
    }

    private static func items(_ trees: [Build.Tree], _ result: BuildResult) -> [ImagePush.Item] {
        trees.map { tree in
            let config =
                result.metadata["containerimage.config/\(tree.platform)"] ?? result.metadata["containerimage.config"]
            let base =
                result.metadata["containerimage.base.config/\(tree.platform)"]
                ?? result.metadata["containerimage.base.config"]
            return ImagePush.Item(
                platform: Platform(tree.platform) ?? platform(ofConfig: config) ?? .host, tree: tree.tree,
                config: config, baseConfig: base)
        }
    }

    private func input(_ exporter: ExporterRequest, _ trees: [Build.Tree], _ result: BuildResult) -> ExportInput {
        ExportInput(
            items: Self.items(trees, result).map {
                ExportInput.Item(
                    platform: $0.platform, chain: $0.tree.chain, config: $0.config, baseConfig: $0.baseConfig)
            }, metadata: result.metadata, attributes: attributes(of: exporter))
    }

    private static func platform(ofConfig config: [UInt8]?) -> Platform? {
        guard let config, let decoded = try? JSONDecoder().decode(ImageConfig.self, from: Data(config)),
            !decoded.architecture.isEmpty
        else { return nil }
        return decoded.platform
    }

    private func session() throws -> any ClientSession {
        guard let session = build.request.session else {
            throw BuildError("this output goes to the client, but the build has no client session")
        }
        return session
    }
}

extension Export {
    private func tar(
        _ input: ExportInput, _ index: Int, _ progress: @escaping OperationContext.Progress
    ) async throws -> [String: String] {
        let exporter = TreeExporter(snapshots: node.snapshots, workDirectory: node.exportDirectory, progress: progress)
        let response = ResponseBox()
        try await session().sendFile(exporter: index, metadata: [:]) { sink in
            response.set(try await exporter.exportTar(input, to: sink))
        }
        return response.value
    }

    private func directory(
        _ input: ExportInput, _ index: Int, _ progress: @escaping OperationContext.Progress
    ) async throws -> [String: String] {
        let session = try session()
        let exporter = TreeExporter(snapshots: node.snapshots, workDirectory: node.exportDirectory, progress: progress)
        try await exporter.withDirectory(input) { path in
            progress("copying files", "", 0, 0, false)
            try await session.sendDirectory(exporter: index, metadata: [:], from: path) {
                progress("copying files", "", $0, 0, false)
            }
            progress("copying files", "", 0, 0, true)
        }
        return input.responseMetadata
    }

    /// An image is made and pushed where its layers are; they do not pass through the home node.
    private func push(
        _ exporter: ExporterRequest, _ trees: [Build.Tree], _ result: BuildResult,
        _ progress: @escaping OperationContext.Progress
    ) async throws -> [String: String] {
        let request = ImagePush.Request(
            build: build.request.reference, items: Self.items(trees, result), attributes: attributes(of: exporter),
            metadata: result.metadata, session: build.request.session)
        if let holder = trees.first?.tree.holders.first, holder != node.dialer.selfID, node.dialer.isLive(holder) {
            do {
                let outcome = try await node.pushes.push(request, at: holder, progress: progress)
                build.progress.addExport(outcome.moved)
                return outcome.response
            } catch let error as BuildError {
                throw error
            } catch {
                try Task.checkCancellation()
                node.logger.warning(
                    "a holder did not finish an export; this node does it",
                    metadata: ["node": "\(node.dialer.name(of: holder))", "error": "\(error)"])
            }
        }
        let held = HeldLayers(node.snapshots)
        defer { held.release() }
        var local = request
        local.items = Self.items(try await build.fetch(trees, in: held), result)
        let outcome = try await node.pushes.push.run(local, progress: progress)
        build.progress.addExport(outcome.moved)
        return outcome.response
    }

    private func archive(
        _ request: ExporterRequest, _ input: ExportInput, _ index: Int, _ progress: @escaping OperationContext.Progress
    ) async throws -> [String: String] {
        let push = node.pushes.push
        let exporter = ImageExporter(
            loader: push.loader, registry: push.registry, credentials: SessionCredentials(build.request.session),
            blobFetcher: { try await push.fetcher.fetchBlob($0) }, progress: progress)
        let kind = ImageExporter.Kind(rawValue: request.type) ?? .oci
        let image = try await exporter.assemble(input, kind: kind)
        let session = try session()
        if request.attributes["tar"] == "false" {
            try await exporter.exportContent(image, to: session.contentStore("export"))
        } else {
            try await session.sendFile(exporter: index, metadata: image.response) { sink in
                try await exporter.exportArchive(image, kind: kind, to: sink)
            }
        }
        return image.response.merging(input.responseMetadata) { own, _ in own }
    }
}

/// Carries a value out of the closure that writes an export.
private final class ResponseBox: Sendable {
    private let state = Mutex<[String: String]>([:])

    func set(_ response: [String: String]) { state.withLock { $0 = response } }
    var value: [String: String] { state.withLock { $0 } }
}
