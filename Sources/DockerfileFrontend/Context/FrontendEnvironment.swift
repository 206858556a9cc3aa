package import LLB
package import OCI

/// What the frontend asks of the node and of the client while it works.
package protocol FrontendEnvironment: Sendable {
    /// Session that serves the client's local directories; put into `local.session`. Empty leaves the attribute out.
    var sessionID: String { get }
    /// Platforms that the cluster builds on, best first; not empty.
    var buildPlatforms: [Platform] { get }
    /// Reads a file of what `definition` makes, such as a local source; nil when it does not exist.
    func readFile(_ path: String, in definition: Pb_Definition) async throws -> [UInt8]?
    /// Finds the digest and the image config of a reference. `resolveMode` is `default`, `pull` or `local`;
    /// `logName` is the name of the vertex that clients are shown for it.
    func resolveImage(
        _ reference: Reference, platform: Platform, resolveMode: String, logName: String
    ) async throws -> (digest: Digest, config: [UInt8])
    /// The same in an OCI layout of the client.
    func resolveOCILayout(
        store: String, digest: Digest, platform: Platform, logName: String
    ) async throws -> (digest: Digest, config: [UInt8])
}
