internal import BuildSession
internal import DockerfileFrontend
internal import Foundation
internal import LLB
internal import OCI
internal import SwiftProtobuf
internal import Synchronization

/// Runs a frontend for a build.
///
/// The Dockerfile frontend is the only one; an image named by `# syntax` is not run.
struct FrontendRun: Sendable {
    private static let builtIn = "dockerfile.v0"

    let build: Build
    let node: NodeParts

    func run(
        _ name: String, attributes: [String: String], inputs: [String: Pb_Definition]
    ) async throws -> BuildResult {
        let image = attributes["source"] ?? ""
        let isBuiltIn = name == Self.builtIn || (name == "gateway.v0" && Self.isDockerfile(image))
        guard isBuiltIn else {
            throw BuildError(
                "frontend \"\(name)\"\(image.isEmpty ? "" : " with source \(image)") is not supported; use \(Self.builtIn)"
            )
        }
        let output: FrontendOutput
        do {
            output = try await DockerfileBuild.run(
                attributes: attributes, environment: Environment(build: build, node: node), inputs: inputs)
        } catch let error as DockerfileError {
            throw Self.buildError(error)
        }
        for warning in output.warnings { await build.warn(Self.warning(warning)) }
        var references: [String: BuildReference] = [:]
        for result in output.results { references[result.id] = try await build.load(result.definition) }
        let form: BuildResult.References =
            if output.results.isEmpty {
                .none
            } else if output.isMultiPlatform {
                .platforms(references)
            } else {
                .single(references[output.results[0].id] ?? .scratch)
            }
        return BuildResult(references: form, metadata: output.metadata)
    }

    private static func isDockerfile(_ image: String) -> Bool {
        image == builtIn || image.hasPrefix("docker/dockerfile") || image.hasPrefix("docker.io/docker/dockerfile")
    }

    private static func buildError(_ error: DockerfileError) -> BuildError {
        var failure = BuildError(error.message)
        if let source = error.source, !error.lines.isEmpty {
            failure.sources = [
                BuildError.SourceLocation(info: sourceInfo(source), ranges: error.lines.map(range))
            ]
        }
        return failure
    }

    private static func warning(_ warning: FrontendWarning) -> BuildWarning {
        var result = BuildWarning(vertex: warning.vertex, short: warning.short)
        result.detail = [warning.detail]
        result.url = warning.url
        result.source = sourceInfo(warning.source)
        result.ranges = warning.lines.map(range)
        return result
    }

    private static func sourceInfo(_ source: DockerfileSource) -> Pb_SourceInfo {
        .with {
            $0.filename = source.filename
            $0.data = Data(source.bytes)
            $0.definition = source.definition
            $0.language = "Dockerfile"
        }
    }

    private static func range(_ lines: LineRange) -> Pb_Range {
        .with {
            $0.start.line = Int32(clamping: lines.start)
            $0.end.line = Int32(clamping: lines.end)
        }
    }
}

/// What the Dockerfile frontend asks for, answered by the build that it works for.
private final class Environment: FrontendEnvironment {
    private let build: Build
    private let node: NodeParts
    /// An image reference means one digest for the whole build, however often it is named.
    private let resolved = Mutex<[String: (digest: Digest, config: [UInt8])]>([:])

    init(build: Build, node: NodeParts) {
        self.build = build
        self.node = node
    }

    var sessionID: String { build.request.session?.id ?? "" }
    var buildPlatforms: [Platform] { node.platforms.isEmpty ? [.host] : node.platforms }

    func readFile(_ path: String, in definition: Pb_Definition) async throws -> [UInt8]? {
        let reference = try await build.load(definition)
        do {
            return try await build.readFile(reference, path: path, range: nil)
        } catch let error as BuildError
            where error.message.hasSuffix("no such file or directory") && error.vertex == nil
        {
            return nil
        }
    }

    func resolveImage(
        _ reference: Reference, platform: Platform, resolveMode: String, logName: String
    ) async throws -> (digest: Digest, config: [UInt8]) {
        try await resolve("\(reference) \(platform)", logName: logName) { [build] vertex in
            let source = Pb_SourceOp.with { $0.identifier = "docker-image://\(reference)" }
            let found = try await build.resolveSource(
                source, platform: platform, resolveMode: resolveMode, needsConfig: true)
            guard let digest = found.digest else { throw BuildError("\(reference): no digest") }
            if let warning = found.warning { await build.warn(BuildWarning(vertex: vertex, short: warning)) }
            return (digest, found.config)
        }
    }

    func resolveOCILayout(
        store: String, digest: Digest, platform: Platform, logName: String
    ) async throws -> (digest: Digest, config: [UInt8]) {
        try await resolve("\(store) \(digest) \(platform)", logName: logName) { [build] _ in
            let source = Pb_SourceOp.with {
                $0.identifier = "oci-layout://\(store)@\(digest)"
                $0.attrs = ["oci.store": store]
            }
            let found = try await build.resolveSource(source, platform: platform, resolveMode: "", needsConfig: true)
            return (found.digest ?? digest, found.config)
        }
    }

    private func resolve(
        _ key: String, logName: String,
        _ body: @escaping @Sendable (_ vertex: Digest) async throws -> (digest: Digest, config: [UInt8])
    ) async throws -> (digest: Digest, config: [UInt8]) {
        if let known = resolved.withLock({ $0[key] }) { return known }
        let found = try await build.progress.around(logName) { try await body($0) }
        return resolved.withLock { resolved in
            if let first = resolved[key] { return first }
            resolved[key] = found
            return found
        }
    }
}
