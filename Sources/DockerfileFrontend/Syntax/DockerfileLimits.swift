/// Bounds on what a client may send; each keeps one hostile file from holding a node.
package enum DockerfileLimits {
    /// Longest Dockerfile, heredocs included.
    ///
    /// BuildKit's own gRPC messages bound it to a few MiB as well.
    package static let dockerfileBytesMax = 2 << 20
    /// Longest ignore file.
    package static let ignoreFileBytesMax = 1 << 20
    /// Most instructions in a file; real ones have fewer than 1,000.
    package static let instructionsMax = 20_000
    /// Most stages of a file.
    package static let stagesMax = 2_000
    /// Longest text that one word may expand to: nested `${a//x/$b}` grow exponentially.
    package static let expansionBytesMax = 1 << 20
    /// Deepest nesting of `${a:-${b:-…}}`.
    package static let expansionDepthMax = 64
    /// Most ports of one EXPOSE range: all there are.
    package static let portRangeMax = 65_536
    /// Most platforms of one build.
    package static let platformsMax = 64
    /// Work of one pattern match in `${a#pattern}`, in steps.
    package static let patternStepsMax = 10_000_000
}
