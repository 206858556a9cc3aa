internal import DockerfileFrontend
internal import FoundationEssentials
internal import LLB
internal import OCI

/// A client with files in memory and a registry whose images have fixed digests.
struct MemoryEnvironment: FrontendEnvironment {
    /// Keyed by `LOCAL/path`, such as `dockerfile/Dockerfile`, or by a URL's `context` file.
    var files: [String: String]
    var configs: [String: String] = [
        "docker.io/library/onbuild:latest":
            #"{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"OnBuild":["COPY . /src","RUN make"]},"#
            + #""rootfs":{"type":"layers","diff_ids":["sha256:\#(String(repeating: "a", count: 64))"]}}"#,
        "docker.io/library/user:latest":
            #"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/p","B=2"],"User":"app","WorkingDir":"/home/app","#
            + #""Cmd":["base"],"Labels":{"from":"base"}},"history":[{"created_by":"base layer"}],"#
            + #""rootfs":{"type":"layers","diff_ids":["sha256:\#(String(repeating: "a", count: 64))"]}}"#,
    ]
    var sessionID = ""
    var buildPlatforms = [Platform(os: "linux", architecture: "amd64")]

    struct NotFound: Error, CustomStringConvertible {
        var description: String
    }

    func readFile(_ path: String, in definition: Pb_Definition) async throws -> [UInt8]? {
        guard let bytes = definition.def.first else { return nil }
        let op = try DefinitionBuilder.decode([UInt8](bytes))
        let place = op.source.identifier.replacing("local://", with: "")
        return files[place + "/" + path].map { Array($0.utf8) }
    }

    func resolveImage(
        _ reference: Reference, platform: Platform, resolveMode: String, logName: String
    ) async throws -> (digest: Digest, config: [UInt8]) {
        guard !reference.repository.hasSuffix("missing") else {
            throw NotFound(description: "failed to resolve source metadata for \(reference): not found")
        }
        let plain =
            #"{"architecture":"\#(platform.architecture)","os":"linux","config":{},"#
            + #""rootfs":{"type":"layers","diff_ids":["sha256:\#(String(repeating: "a", count: 64))"]}}"#
        let config = configs[reference.description] ?? plain
        return (reference.digest ?? Digest.of(Array("\(reference)".utf8)), Array(config.utf8))
    }

    func resolveOCILayout(
        store: String, digest: Digest, platform: Platform, logName: String
    ) async throws -> (digest: Digest, config: [UInt8]) {
        (
            digest,
            Array(
                #"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x"}]}"#
                    .utf8)
        )
    }
}
