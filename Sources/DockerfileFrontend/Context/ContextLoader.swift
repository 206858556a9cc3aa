internal import LLB
internal import OCI

/// Finds and reads the Dockerfile, its ignore file and the kind of the context.
struct ContextLoader {
    /// What was found.
    struct Loaded: Sendable {
        var dockerfile: DockerfileSource
        /// Vertex that read the Dockerfile: warnings belong to it.
        var vertex: Digest
        var context: ContextSource
        var excludes: [String]
    }

    let options: BuildOptions
    let environment: any FrontendEnvironment
    let inputs: [String: Pb_Definition]

    func load() async throws -> Loaded {
        let context = try await mainContext()
        let (dockerfile, vertex, ownIgnore) = try await readDockerfile(context)
        var excludes: [String] = []
        if let ownIgnore {
            excludes = try IgnoreFile.patterns(ownIgnore)
        } else if case .local(let name) = context {
            excludes = try await readIgnoreFile(local: name, label: "[internal] load .dockerignore", hint: name)
        }
        return Loaded(dockerfile: dockerfile, vertex: vertex, context: context, excludes: excludes)
    }

    /// Patterns of a local directory's own `.dockerignore`; none when it has no such file.
    func readIgnoreFile(local name: String, label: String, hint: String) async throws -> [String] {
        var builder = DefinitionBuilder()
        let edge = builder.addLocal(
            name, name: label, hint: hint + "-.dockerignore", sessionID: sessionID(for: name),
            attributes: ["local.followpaths": TextList.json([".dockerignore"]), "local.differ": "none"])
        guard let bytes = try await environment.readFile(".dockerignore", in: builder.definition(of: edge)) else {
            return []
        }
        return try IgnoreFile.patterns(bytes)
    }

    func sessionID(for local: String) -> String {
        options.attributes["local-sessionid:" + local] ?? environment.sessionID
    }

    private func mainContext() async throws -> ContextSource {
        if let named = options.attributes["context:" + options.contextName] ?? options.attributes["context:context"] {
            return try await source(named, name: "context")
        }
        guard let text = options.attributes["context"], !text.isEmpty else { return .local(options.contextName) }
        if text.hasPrefix("input:") || GitReference(text) != nil || Self.isURL(text) {
            return try await source(text, name: "context")
        }
        throw DockerfileError(
            .invalidAttribute,
            "unknown context \(GoText.quoted(text)): expected a git or http(s) URL or input:NAME")
    }

    /// Reads the value of a context attribute that is no image.
    func source(_ text: String, name: String) async throws -> ContextSource {
        if text.hasPrefix("local:") { return .local(String(text.dropFirst("local:".count))) }
        if text.hasPrefix("input:") {
            let key = String(text.dropFirst("input:".count))
            guard let definition = inputs[key] else {
                throw DockerfileError(.invalidAttribute, "invalid input \(key) for \(name)")
            }
            return .definition(definition)
        }
        if var reference = GitReference(text) {
            if name == "context", let directory = options.attributes["contextsubdir"] {
                reference.directory = directory
            }
            return .git(reference)
        }
        guard Self.isURL(text) else {
            throw DockerfileError(.invalidAttribute, "unsupported context source \(text) for \(name)")
        }
        var builder = DefinitionBuilder()
        let edge = ContextSource.addFile(text, to: &builder)
        guard let bytes = try await environment.readFile(ContextSource.fileName, in: builder.definition(of: edge))
        else {
            throw DockerfileError(.fileNotFound, "failed to read the downloaded context \(text)")
        }
        return Self.isArchive(bytes) ? .archive(text) : .file(text)
    }

    static func isURL(_ text: String) -> Bool { text.hasPrefix("http://") || text.hasPrefix("https://") }

    /// Whether the bytes begin as a tar file, plain or compressed (gzip, bzip2, xz, zstd).
    static func isArchive(_ bytes: [UInt8]) -> Bool {
        let magics: [[UInt8]] = [
            [0x1F, 0x8B], Array("BZh".utf8), [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], [0x28, 0xB5, 0x2F, 0xFD],
        ]
        if magics.contains(where: bytes.starts(with:)) { return true }
        let ustar = 257
        return bytes.count > ustar + 5 && bytes[ustar...].starts(with: Array("ustar".utf8))
    }

    private func readDockerfile(
        _ context: ContextSource
    ) async throws -> (DockerfileSource, Digest, ignore: [UInt8]?) {
        var builder = DefinitionBuilder()
        let edge: DefinitionBuilder.Edge?
        var names = [options.filename]
        let label = "[internal] load build definition from \(SlashPath.base(options.filename))"
        let isLocal = options.attributes["dockerfilekey"] != nil
        if let named = options.attributes["context:dockerfile"] {
            edge = try await source(named, name: "dockerfile").add(
                to: &builder, name: label, hint: "dockerfile", excludes: [], sessionID: environment.sessionID)
        } else if case .file = context, !isLocal {
            names = [ContextSource.fileName]
            edge = try add(context, to: &builder, label)
        } else if !isLocal, !context.isLocal {
            edge = try add(context, to: &builder, label)
        } else {
            var follow = [options.filename, options.filename + ".dockerignore"]
            if options.filename == "Dockerfile" { follow.append("dockerfile") }
            edge = builder.addLocal(
                options.dockerfileName, name: label, hint: options.dockerfileName,
                sessionID: sessionID(for: options.dockerfileName),
                attributes: ["local.followpaths": TextList.json(follow), "local.differ": "none"])
        }
        if options.filename == "Dockerfile", names == ["Dockerfile"] { names.append("dockerfile") }
        guard let edge else { throw missing() }
        let definition = try builder.definition(of: edge)
        let vertex = try builder.digest(of: edge)
        for name in names {
            guard let bytes = try await environment.readFile(name, in: definition) else { continue }
            let ignore = try await environment.readFile(name + ".dockerignore", in: definition)
            let shown = name == ContextSource.fileName ? "Dockerfile" : name
            return (DockerfileSource(filename: shown, bytes: bytes, definition: definition), vertex, ignore)
        }
        throw missing()
    }

    private func add(
        _ context: ContextSource, to builder: inout DefinitionBuilder, _ label: String
    ) throws(DockerfileError) -> DefinitionBuilder.Edge? {
        try context.add(to: &builder, name: label, hint: "dockerfile", excludes: [], sessionID: environment.sessionID)
    }

    private func missing() -> DockerfileError {
        DockerfileError(
            .fileNotFound, "failed to read dockerfile: open \(options.filename): no such file or directory")
    }
}

extension ContextSource {
    var isLocal: Bool { if case .local = self { true } else { false } }
}
