package import LLB
package import OCI

/// What a Dockerfile build came to, before anything ran.
package struct FrontendOutput: Sendable {
    /// One platform's image.
    package struct PlatformResult: Sendable {
        /// `linux/amd64`: the key of the result.
        package var id: String
        package var platform: Platform
        /// An empty definition is scratch.
        package var definition: Pb_Definition
        /// Image config as JSON.
        package var config: [UInt8]
        /// Config of the base image of the target stage.
        package var baseConfig: [UInt8]?
    }

    /// In the order of the request; empty for subrequests.
    package var results: [PlatformResult]
    /// Whether the result has the `refs` form.
    package var isMultiPlatform: Bool
    /// BuildKit's result metadata.
    package var metadata: [String: [UInt8]]
    package var warnings: [FrontendWarning]
}

/// A lint rule that the Dockerfile violates, as BuildKit's clients show it.
package struct FrontendWarning: Hashable, Sendable {
    /// Vertex that read the Dockerfile.
    package var vertex: Digest
    /// `Rule: message (line N)`.
    package var short: String
    package var detail: String
    package var url: String
    package var source: DockerfileSource
    package var lines: [LineRange]
}
