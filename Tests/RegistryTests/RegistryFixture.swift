import Logging
import OCI
import Registry
import RegistryFixtures
import Testing

/// A client with short waits, and what tests push.
struct RegistryFixture {
    static func client(_ hosts: [String: RegistryHostConfiguration] = [:]) -> RegistryClient {
        var configuration = RegistryConfiguration(hosts: hosts)
        configuration.retryDelay = .milliseconds(5)
        configuration.connectTimeout = .seconds(5)
        return RegistryClient(configuration: configuration, logger: Logger(label: "test"))
    }

    static func withRegistry(_ body: (DockerRegistry, RegistryClient) async throws -> Void) async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        let client = client()
        do {
            try await body(registry, client)
        } catch {
            try await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }

    static func blob(_ bytes: [UInt8], type: String = "application/octet-stream") -> Descriptor {
        Descriptor(mediaType: type, digest: Digest.of(bytes), size: Int64(bytes.count))
    }

    /// Manifest JSON of an image with that config and layer.
    static func manifest(config: Descriptor, layer: Descriptor) -> [UInt8] {
        let text = """
            {"schemaVersion":2,"mediaType":"\(MediaType.ociManifest)","config":{"mediaType":"\(MediaType.ociConfig)",\
            "digest":"\(config.digest)","size":\(config.size)},"layers":[{"mediaType":"\(MediaType.ociLayerGzip)",\
            "digest":"\(layer.digest)","size":\(layer.size)}]}
            """
        return Array(text.utf8)
    }
}

/// Collects the pieces of a download.
actor Pieces {
    private(set) var bytes: [UInt8] = []
    func add(_ piece: [UInt8]) { bytes += piece }
}
