package import LLB
package import OCI

/// What clients are shown of a build; each value replaces what was said before about the same thing.
package enum BuildEvent: Sendable {
    case vertex(VertexProgress)
    case status(StatusProgress)
    case log(VertexLog)
    case warning(BuildWarning)
}

/// A vertex of the build, in the state that it has now.
package struct VertexProgress: Sendable, Hashable {
    package var digest: Digest
    package var inputs: [Digest]
    package var name: String
    package var isCached: Bool
    /// Nanoseconds since 1970; nil until it happened.
    package var started: Int64?
    package var completed: Int64?
    /// Empty unless it failed.
    package var error: String
    package var progressGroup: Pb_ProgressGroup?

    package init(digest: Digest, inputs: [Digest], name: String) {
        self.digest = digest
        self.inputs = inputs
        self.name = name
        isCached = false
        error = ""
    }
}

/// Progress of one thing inside a vertex, such as a blob that is pulled.
package struct StatusProgress: Sendable, Hashable {
    /// The text that clients show; unique in its vertex.
    package var id: String
    package var vertex: Digest
    package var name: String
    package var current: Int64
    /// 0 when unknown.
    package var total: Int64
    package var timestamp: Int64
    package var started: Int64?
    package var completed: Int64?

    package init(id: String, vertex: Digest, name: String = "", current: Int64 = 0, total: Int64 = 0, timestamp: Int64)
    {
        self.id = id
        self.vertex = vertex
        self.name = name
        self.current = current
        self.total = total
        self.timestamp = timestamp
    }
}

/// Output of a step.
package struct VertexLog: Sendable, Hashable {
    package var vertex: Digest
    package var timestamp: Int64
    /// 1 is standard output, 2 standard error.
    package var stream: Int
    package var bytes: [UInt8]

    package init(vertex: Digest, timestamp: Int64, stream: Int, bytes: [UInt8]) {
        self.vertex = vertex
        self.timestamp = timestamp
        self.stream = stream
        self.bytes = bytes
    }
}

/// A lint finding or another warning, tied to a vertex.
package struct BuildWarning: Sendable {
    package var vertex: Digest
    package var level: Int
    package var short: String
    package var detail: [String]
    package var url: String
    package var source: Pb_SourceInfo?
    package var ranges: [Pb_Range]

    package init(vertex: Digest, short: String) {
        self.vertex = vertex
        self.short = short
        level = 1
        detail = []
        url = ""
        ranges = []
    }
}

/// Why a build failed, with what a client needs to show the place (BuildKit's error details).
package struct BuildError: Error, Sendable, CustomStringConvertible {
    package var message: String
    /// The vertex that failed, if one did.
    package var vertex: Digest?
    /// Exit code of the process that failed, if one did.
    package var exitCode: Int32?
    /// The places in source files that the failed vertex came from, outermost first.
    package var sources: [SourceLocation]
    /// True when the build was cancelled rather than failed.
    package var isCancelled: Bool

    package struct SourceLocation: Sendable {
        package var info: Pb_SourceInfo
        package var ranges: [Pb_Range]

        package init(info: Pb_SourceInfo, ranges: [Pb_Range]) {
            self.info = info
            self.ranges = ranges
        }
    }

    package init(_ message: String, vertex: Digest? = nil, exitCode: Int32? = nil, sources: [SourceLocation] = []) {
        self.message = message
        self.vertex = vertex
        self.exitCode = exitCode
        self.sources = sources
        isCancelled = false
    }

    package var description: String { message }
}
