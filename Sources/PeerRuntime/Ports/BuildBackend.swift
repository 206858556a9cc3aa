package import BuildSession
package import LLB
package import OCI

/// What the client API needs of a node to serve BuildKit's clients.
///
/// `BuildKitAPI` calls it; `Node` implements it.
package protocol BuildBackend: Sendable {
    /// This node as a BuildKit worker.
    var worker: WorkerDescription { get }
    /// Registers a build under its client-chosen reference, before anything else of it happens.
    func beginBuild(_ request: BuildRequest) async throws -> any BuildHandle
    /// What this node keeps between builds.
    func diskUsage() async throws -> DiskUsageReport
    /// Removes what `diskUsage` named, in this order, and returns what is gone; what came into use meanwhile stays.
    func removeUsage(ids: [String]) async throws -> [CacheUsage]
}

/// A build under way, from `Control.Solve` to its answer.
package protocol BuildHandle: AnyObject, Sendable {
    /// Loads a definition lazily: nothing runs.
    func load(_ definition: Pb_Definition) async throws -> BuildReference
    /// Runs a frontend to its end; the graph that comes of it stays lazy. `session` may be nil for builds without local
    /// files.
    func runFrontend(
        _ name: String, attributes: [String: String], inputs: [String: Pb_Definition]
    ) async throws -> BuildResult
    /// Executes what the reference needs.
    func evaluate(_ reference: BuildReference) async throws
    /// Reads a file of the reference's tree; `range` is in bytes.
    func readFile(_ reference: BuildReference, path: String, range: Range<Int64>?) async throws -> [UInt8]
    func stat(_ reference: BuildReference, path: String) async throws -> FileStat
    /// Entries of a directory, sorted by name.
    func readDirectory(_ reference: BuildReference, path: String, pattern: String?) async throws -> [FileStat]
    /// Resolves a source to what it is now: images to digest and config.
    func resolveSource(
        _ source: Pb_SourceOp, platform: Platform?, resolveMode: String, needsConfig: Bool
    ) async throws
        -> ResolvedSource
    /// Evaluates the result, runs the exporters and returns the exporter response. Ends `events`.
    func finish(_ result: BuildResult) async throws -> [String: String]
    /// Runs a part of the build, or waits for its client; when the node stops builds it ends with the reason.
    func untilStopped<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value
    /// Ends the build with an error of the client or of the build; running steps are cancelled. Ends `events`.
    func abandon(reason: String) async
    /// Everything that happens, from the beginning; may be asked for by several clients, also after the end.
    func events() -> AsyncStream<BuildEvent>
    /// Adds a warning to a vertex.
    func warn(_ warning: BuildWarning) async
}

/// `Control.Solve` without its wire form.
package struct BuildRequest: Sendable {
    package var reference: String
    /// The client's session; waits for it are the API's business, so this is nil only for builds that named none.
    package var session: (any ClientSession)?
    package var attributes: [String: String]
    package var exporters: [ExporterRequest]
    package var entitlements: Set<String>
    package var cacheImports: [CacheOption]
    package var cacheExports: [CacheOption]
    /// Probes of a client: not worth a line in history.
    package var isInternal: Bool

    package init(reference: String, session: (any ClientSession)? = nil) {
        self.reference = reference
        self.session = session
        attributes = [:]
        exporters = []
        entitlements = []
        cacheImports = []
        cacheExports = []
        isInternal = false
    }
}

/// One `--output`.
package struct ExporterRequest: Sendable, Hashable {
    /// `image`, `oci`, `docker`, `tar` or `local`.
    package var type: String
    package var attributes: [String: String]

    package init(type: String, attributes: [String: String]) {
        self.type = type
        self.attributes = attributes
    }
}

/// One `--cache-from` or `--cache-to`.
package struct CacheOption: Sendable, Hashable {
    package var type: String
    package var attributes: [String: String]

    package init(type: String, attributes: [String: String]) {
        self.type = type
        self.attributes = attributes
    }
}

/// A handle on one output of a lazy graph; `isScratch` references hold nothing.
package struct BuildReference: Sendable, Hashable {
    /// Unique in its build; empty for scratch.
    package var id: String
    /// The definition that makes it, with metadata and source map.
    package var definition: Pb_Definition

    package init(id: String, definition: Pb_Definition) {
        self.id = id
        self.definition = definition
    }

    package static let scratch = BuildReference(id: "", definition: Pb_Definition())
    package var isScratch: Bool { id.isEmpty }
}

/// What a frontend or client made: one reference, or one a platform, with metadata.
package struct BuildResult: Sendable {
    package var references: References
    /// Keys of BuildKit's result metadata, such as `containerimage.config`.
    package var metadata: [String: [UInt8]]

    package enum References: Sendable {
        /// Nothing was built, as in a client's probe.
        case none
        case single(BuildReference)
        /// Keyed by platform id, such as `linux/amd64`.
        case platforms([String: BuildReference])
    }

    package init(references: References, metadata: [String: [UInt8]] = [:]) {
        self.references = references
        self.metadata = metadata
    }
}

/// A source after resolution.
package struct ResolvedSource: Sendable {
    package var source: Pb_SourceOp
    package var digest: Digest?
    package var config: [UInt8]
    /// Why the source may be another one by now; nil as a rule.
    package var warning: String?

    package init(source: Pb_SourceOp, digest: Digest?, config: [UInt8]) {
        self.source = source
        self.digest = digest
        self.config = config
    }
}

/// One file's metadata; `mode` is `st_mode`.
package struct FileStat: Sendable, Hashable {
    package var path: String
    package var mode: UInt32
    package var uid: UInt32
    package var gid: UInt32
    package var size: Int64
    /// Nanoseconds since 1970.
    package var modified: Int64
    package var linkName: String
    package var deviceMajor: Int64
    package var deviceMinor: Int64
    package var xattrs: [String: [UInt8]]

    package init(path: String, mode: UInt32, size: Int64 = 0) {
        self.path = path
        self.mode = mode
        self.size = size
        uid = 0
        gid = 0
        modified = 0
        linkName = ""
        deviceMajor = 0
        deviceMinor = 0
        xattrs = [:]
    }
}

/// A node in BuildKit's words.
package struct WorkerDescription: Sendable {
    package var id: String
    package var labels: [String: String]
    /// The first one is what builds are made for unless they say otherwise.
    package var platforms: [Platform]
    package var version: String

    package init(id: String, labels: [String: String], platforms: [Platform], version: String) {
        self.id = id
        self.labels = labels
        self.platforms = platforms
        self.version = version
    }
}
