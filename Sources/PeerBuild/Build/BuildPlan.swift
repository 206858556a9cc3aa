internal import BuildClient
internal import Foundation
internal import OCI

/// What flags and files of a command line ask a node to build.
struct BuildPlan {
    /// What standard input and the file system are to a plan, so that mapping flags needs neither.
    struct World {
        var environment: [String: String]
        /// Reads standard input whole.
        var standardInput: () throws -> [UInt8]
        /// An empty directory of ours that lasts as long as the build.
        var temporaryDirectory: () throws -> String
    }

    static let defaultDockerfile = "Dockerfile"
    /// Longest Dockerfile or archive that is taken from standard input.
    static let standardInputBytesMax = 1 << 30

    private(set) var request = BuildRequest()
    /// Remarks for the user before the build.
    private(set) var remarks: [String] = []

    init(_ options: BuildOptions, _ world: World) throws {
        request.attributes["filename"] = Self.defaultDockerfile
        try addContext(options, world)
        addDockerfileOptions(options, world)
        try addArguments(options, world)
        try addNetwork(options)
        for text in options.buildContexts { try addNamedContext(text) }
        for text in options.secrets { try addSecret(text, world) }
        for text in options.ssh { try addAgent(text, world) }
        try addCache(options)
        request.entitlements += options.allowed
        if options.check {
            request.attributes["requestid"] = "frontend.lint"
            request.attributes["frontend.caps"] = "moby.buildkit.frontend.subrequests"
            request.isInternal = true
        } else {
            request.exporters = try OutputFlags(options).exporters
            if request.exporters.isEmpty, options.outputs.isEmpty {
                remarks.append(
                    "no output is given, so the result stays in the build cache; see --output, --push, --load")
            }
        }
    }

    // MARK: Contexts

    private mutating func addContext(_ options: BuildOptions, _ world: World) throws {
        let isRemote = Self.isURL(options.context)
        if options.context == "-" {
            guard options.file != "-" else { throw BuildPlanError("context and Dockerfile can't both be -") }
            try addStandardInput(try world.standardInput(), options, world)
            return
        }
        if isRemote {
            request.attributes["context"] = options.context
        } else {
            try Self.checkDirectory(options.context, "context")
            request.directories["context"] = options.context
            request.sharedKey = Self.sharedKey(options.context)
        }
        switch options.file {
        case "-"?: try addDockerfile(try world.standardInput(), world)
        case let file? where isRemote: request.attributes["filename"] = file
        case let file?: try addDockerfile(at: file)
        case nil where !isRemote: request.directories["dockerfile"] = options.context
        case nil: break
        }
    }

    private mutating func addDockerfile(at file: String) throws {
        guard FileManager.default.fileExists(atPath: file) else {
            throw BuildPlanError("Dockerfile \(file) does not exist (-f is relative to the current directory)")
        }
        let url = URL(fileURLWithPath: file)
        request.directories["dockerfile"] = url.deletingLastPathComponent().path
        request.attributes["filename"] = url.lastPathComponent
    }

    private mutating func addDockerfile(_ bytes: [UInt8], _ world: World) throws {
        let directory = try world.temporaryDirectory()
        try Data(bytes).write(to: URL(fileURLWithPath: directory + "/" + Self.defaultDockerfile))
        request.directories["dockerfile"] = directory
    }

    /// Standard input is an archive of the context, or a Dockerfile without one.
    private mutating func addStandardInput(_ bytes: [UInt8], _ options: BuildOptions, _ world: World) throws {
        if Self.isArchive(bytes) {
            let id = BuildRun.randomID()
            request.uploads["/" + id] = bytes
            request.attributes["context"] = "http://buildkit-session/" + id
            request.attributes["filename"] = options.file ?? Self.defaultDockerfile
            return
        }
        try addDockerfile(bytes, world)
        request.directories["context"] = try world.temporaryDirectory()
    }

    private mutating func addNamedContext(_ text: String) throws {
        let (name, value) = try Self.pair(text, flag: "--build-context")
        if value.hasPrefix("docker-image://") || Self.isURL(value) {
            request.attributes["context:" + name] = value
        } else if value.hasPrefix("oci-layout://") {
            let layout = try ImageLayout(String(value.dropFirst("oci-layout://".count)))
            let store = BuildRun.randomID()
            request.layouts[store] = layout.directory
            request.attributes["context:" + name] = "oci-layout://\(store):\(layout.tag)@\(layout.digest)"
        } else {
            try Self.checkDirectory(value, "--build-context \(name)")
            request.attributes["context:" + name] = "local:" + name
            request.directories[name] = value
        }
    }

    // MARK: Frontend options

    private mutating func addDockerfileOptions(_ options: BuildOptions, _ world: World) {
        request.attributes["target"] = options.target
        var platforms = options.platforms
        if platforms.isEmpty, let standard = world.environment["DOCKER_DEFAULT_PLATFORM"], !standard.isEmpty {
            platforms = [standard]
        }
        if !platforms.isEmpty { request.attributes["platform"] = platforms.joined(separator: ",") }
        if options.noCache { request.attributes["no-cache"] = "" }
        if !options.noCacheFilter.isEmpty {
            request.attributes["no-cache"] = options.noCacheFilter.joined(separator: ",")
        }
        if options.pull { request.attributes["image-resolve-mode"] = "pull" }
        if let size = options.sharedMemory { request.attributes["shm-size"] = String(size.bytes) }
        if !options.limits.isEmpty { request.attributes["ulimit"] = options.limits.joined(separator: ",") }
    }

    private mutating func addArguments(_ options: BuildOptions, _ world: World) throws {
        for text in options.buildArguments {
            if text.contains("=") {
                let (name, value) = try Self.pair(text, flag: "--build-arg")
                request.attributes["build-arg:" + name] = value
            } else if let value = world.environment[text] {
                // Without a value the variable is passed on; an unset one leaves the Dockerfile's default.
                request.attributes["build-arg:" + text] = value
            }
        }
        let epoch = "SOURCE_DATE_EPOCH"
        if request.attributes["build-arg:" + epoch] == nil, let value = world.environment[epoch], !value.isEmpty {
            request.attributes["build-arg:" + epoch] = value
        }
        for text in options.labels {
            let pair = text.contains("=") ? try Self.pair(text, flag: "--label") : (text, "")
            request.attributes["label:" + pair.0] = pair.1
        }
    }

    private mutating func addNetwork(_ options: BuildOptions) throws {
        switch options.network {
        case nil, "default"?, ""?: break
        case "none"?: request.attributes["force-network-mode"] = "none"
        case "host"?:
            request.attributes["force-network-mode"] = "host"
            request.entitlements.append("network.host")
        case let other?: throw BuildPlanError("--network \(other): must be default, none or host")
        }
        let hosts = try options.addedHosts.map { text throws(BuildPlanError) -> String in
            guard let split = text.firstIndex(where: { $0 == ":" || $0 == "=" }) else {
                throw BuildPlanError("--add-host \(text): must be HOST:IP")
            }
            return text[..<split] + "=" + text[text.index(after: split)...]
        }
        if !hosts.isEmpty { request.attributes["add-hosts"] = hosts.joined(separator: ",") }
    }

    // MARK: Secrets and agents

    private mutating func addSecret(_ text: String, _ world: World) throws {
        let fields = try CSVFields(text, flag: "--secret")
        guard let id = fields["id"], !id.isEmpty else { throw BuildPlanError("--secret \(text): id is missing") }
        for field in fields.fields where !["id", "src", "source", "env", "type"].contains(field.key) {
            throw BuildPlanError("--secret \(text): \(field.key) is no field of a secret")
        }
        let file = fields["src"] ?? fields["source"]
        if let name = fields["env"] ?? (fields["type"] == "env" ? file ?? id : nil) {
            request.secrets[id] = .environment(name)
        } else if let file {
            guard FileManager.default.isReadableFile(atPath: file) else {
                throw BuildPlanError("--secret \(text): \(file) can't be read")
            }
            request.secrets[id] = .file(file)
        } else {
            request.secrets[id] = world.environment[id] == nil ? .file(id) : .environment(id)
        }
    }

    private mutating func addAgent(_ text: String, _ world: World) throws {
        let pair = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard let socket = pair.count == 2 ? pair[1] : world.environment["SSH_AUTH_SOCK"], let id = pair.first else {
            throw BuildPlanError("--ssh \(text): no SSH agent; start one with ssh-agent or give ID=SOCKET")
        }
        let type = try? FileManager.default.attributesOfItem(atPath: socket)[.type] as? FileAttributeType
        guard type == .typeSocket else {
            throw BuildPlanError("--ssh \(text): \(socket) is no socket; add key files to an agent with ssh-add")
        }
        request.sshAgents[id] = socket
    }

    // MARK: Cache

    private mutating func addCache(_ options: BuildOptions) throws {
        request.cacheImports = try options.cacheFrom.map { text in
            var option = try Self.cacheOption(text, flag: "--cache-from")
            if option.type == "local" {
                let layout = try ImageLayout(option.attributes["src"] ?? "")
                option.attributes["digest"] = option.attributes["digest"] ?? layout.digest.description
            }
            return option
        }
        request.cacheExports = try options.cacheTo.map { text in
            let option = try Self.cacheOption(text, flag: "--cache-to")
            guard option.type != "local" else {
                throw BuildPlanError("--cache-to type=local is not supported; use type=registry or type=inline")
            }
            return option
        }
        guard !request.cacheImports.isEmpty else { return }
        let imports = request.cacheImports.map { CacheImport(type: $0.type, attributes: $0.attributes) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        request.attributes["cache-imports"] = String(decoding: try encoder.encode(imports), as: UTF8.self)
    }

    /// Field names as BuildKit's JSON has them.
    private struct CacheImport: Encodable {
        let type: String
        let attributes: [String: String]

        enum CodingKeys: String, CodingKey {
            case type = "Type"
            case attributes = "Attrs"
        }
    }

    private static func cacheOption(_ text: String, flag: String) throws -> BuildRequest.CacheOption {
        guard text.contains("=") else { return .init(type: "registry", attributes: ["ref": text]) }
        let fields = try CSVFields(text, flag: flag)
        guard let type = fields["type"] else { throw BuildPlanError("\(flag) \(text): type is missing") }
        return .init(type: type, attributes: fields.attributes(without: ["type"]))
    }

    // MARK: Texts

    static func pair(_ text: String, flag: String) throws(BuildPlanError) -> (String, String) {
        guard let equals = text.firstIndex(of: "="), equals > text.startIndex else {
            throw BuildPlanError("\(flag) \(text): must be NAME=VALUE")
        }
        return (String(text[..<equals]), String(text[text.index(after: equals)...]))
    }

    static func isURL(_ text: String) -> Bool {
        ["http://", "https://", "git://", "ssh://", "git@", "github.com/"].contains { text.hasPrefix($0) }
    }

    /// Whether the bytes begin like gzip, bzip2, xz or zstd data, or are a tar archive.
    static func isArchive(_ bytes: [UInt8]) -> Bool {
        let magics: [[UInt8]] = [
            [0x1F, 0x8B], [0x42, 0x5A, 0x68], [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], [0x28, 0xB5, 0x2F, 0xFD],
        ]
        if magics.contains(where: { bytes.starts(with: $0) }) { return true }
        return bytes.count >= 262 && bytes[257..<262].elementsEqual("ustar".utf8)
    }

    private static func checkDirectory(_ path: String, _ what: String) throws(BuildPlanError) {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue else {
            throw BuildPlanError("\(what) \(path) is no directory")
        }
    }

    /// Same for the same directory of the same machine, so that a node finds the tree of the last build.
    private static func sharedKey(_ directory: String) -> String {
        let path = URL(fileURLWithPath: directory).standardizedFileURL.path
        let place = Digest.of(Array((ProcessInfo.processInfo.hostName + ":" + path).utf8))
        return URL(fileURLWithPath: path).lastPathComponent + ":" + place.hex.prefix(16)
    }
}
