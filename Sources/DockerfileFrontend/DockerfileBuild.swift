package import LLB
internal import OCI

/// The built-in frontend `dockerfile.v0`: from a build's attributes to LLB and image configs.
package struct DockerfileBuild {
    private let options: BuildOptions
    private let environment: any FrontendEnvironment
    private let inputs: [String: Pb_Definition]

    /// Converts a Dockerfile build.
    ///
    /// - Parameters:
    ///   - attributes: `FrontendAttrs` of the request.
    ///   - environment: Reads files and resolves images.
    ///   - inputs: Graphs that contexts `input:NAME` mean.
    /// - Returns: One definition a platform, lazy: nothing but the Dockerfile was read.
    /// - Throws: `DockerfileError` for everything that the user can mend; else what `environment` throws.
    package static func run(
        attributes: [String: String], environment: any FrontendEnvironment, inputs: [String: Pb_Definition]
    ) async throws -> FrontendOutput {
        let build = DockerfileBuild(
            options: try BuildOptions(attributes), environment: environment, inputs: inputs)
        return try await build.run()
    }

    private func run() async throws -> FrontendOutput {
        let request = options.attributes["requestid"] ?? ""
        if !request.isEmpty, request != "frontend.lint", let output = try Subrequest.answer(request) { return output }
        let loader = ContextLoader(options: options, environment: environment, inputs: inputs)
        let loaded = try await loader.load()
        do {
            switch request {
            case "frontend.lint": return try await lint(loader, loaded)
            case "frontend.targets":
                return try Subrequest.targets(try ParsedDockerfile(loaded.dockerfile.bytes), loaded.dockerfile)
            default: return try await convert(loader, loaded)
            }
        } catch var error as DockerfileError {
            error.source = loaded.dockerfile
            throw error
        }
    }

    private func checkSyntax(_ file: ParsedDockerfile) throws(DockerfileError) {
        let named = options.buildArguments["BUILDKIT_SYNTAX"] ?? options.attributes["cmdline"] ?? file.directives.syntax
        guard let named, let image = named.split(separator: " ").first else { return }
        let name = (try? Reference(parsing: String(image)))?.name ?? ""
        guard ["docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"].contains(name) else {
            throw DockerfileError(
                .unsupportedFrontend,
                "the frontend image \(image) can't be used: only the built-in Dockerfile frontend is; "
                    + "remove the syntax line or name docker/dockerfile",
                lines: file.directives.lines["syntax"].map { [LineRange($0, $0)] } ?? [])
        }
    }

    private func linter(_ file: ParsedDockerfile) throws(DockerfileError) -> Linter {
        let configuration = options.buildArguments["BUILDKIT_DOCKERFILE_CHECK"] ?? file.directives.check ?? ""
        var linter: Linter
        do throws(DockerfileError) { linter = try Linter(configuration: configuration) } catch {
            throw error.located(at: file.directives.lines["check"].map { [LineRange($0, $0)] } ?? [])
        }
        linter.lintText(file)
        return linter
    }

    private func convert(_ loader: ContextLoader, _ loaded: ContextLoader.Loaded) async throws -> FrontendOutput {
        let file = try ParsedDockerfile(loaded.dockerfile.bytes)
        try checkSyntax(file)
        var linter = try linter(file)
        let output = try await convert(file, loader, loaded, &linter)
        try linter.check()
        return output
    }

    private func convert(
        _ file: ParsedDockerfile, _ loader: ContextLoader, _ loaded: ContextLoader.Loaded, _ linter: inout Linter
    ) async throws -> FrontendOutput {
        let platforms = options.platforms.isEmpty ? [environment.buildPlatforms.first ?? .host] : options.platforms
        var output = FrontendOutput(
            results: [], isMultiPlatform: options.isMultiPlatform, metadata: [:], warnings: [])
        var images: [PlatformConversion.ImageKey: PlatformConversion.ResolvedImage] = [:]
        for platform in platforms {
            var conversion = PlatformConversion(
                file: file, options: options, loader: loader, loaded: loaded, target: platform,
                isImplicitTarget: options.platforms.isEmpty, linter: linter, images: images)
            do {
                output.results.append(try await conversion.convert())
                linter = conversion.linter
            } catch {
                linter = conversion.linter
                throw error
            }
            images = conversion.images
        }
        output.metadata = ResultMetadata.of(
            output.results, isMultiPlatform: options.isMultiPlatform, epoch: options.epoch)
        output.warnings = linter.violations.map { warning($0, loaded) }
        return output
    }

    private func warning(_ violation: Linter.Violation, _ loaded: ContextLoader.Loaded) -> FrontendWarning {
        let line = violation.lines.first?.start ?? 0
        return FrontendWarning(
            vertex: loaded.vertex, short: "\(violation.rule.rawValue): \(violation.message) (line \(line))",
            detail: violation.rule.detail, url: violation.rule.url, source: loaded.dockerfile, lines: violation.lines)
    }

    /// `docker build --check`: warnings, and the error of the build if there is one.
    private func lint(_ loader: ContextLoader, _ loaded: ContextLoader.Loaded) async throws -> FrontendOutput {
        var failure: DockerfileError?
        var violations: [Linter.Violation] = []
        do {
            let file = try ParsedDockerfile(loaded.dockerfile.bytes)
            try checkSyntax(file)
            var linter = try linter(file)
            do { _ = try await convert(file, loader, loaded, &linter) } catch let error as DockerfileError {
                failure = error
            }
            violations = linter.violations
        } catch let error as DockerfileError {
            failure = error
        }
        return Subrequest.lint(violations, failure: failure, source: loaded.dockerfile)
    }
}
