import OCI
import Testing

@Suite struct PlatformSelectionTests {
    private static func index(_ platforms: [String?]) -> ImageIndex {
        ImageIndex(
            manifests: platforms.enumerated().map { number, platform in
                var descriptor = Descriptor(
                    mediaType: MediaType.ociManifest, digest: Digest.of([UInt8(number)]), size: 1)
                descriptor.platform = platform.flatMap { Platform($0) }
                return descriptor
            })
    }

    @Test(arguments: [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/386", "windows/amd64"], 0),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/amd64", ["linux/amd64/v2", "linux/amd64"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], 1),
    ])
    func `the best runnable variant is chosen`(wanted: String, offered: [String], expected: Int) throws {
        let platform = try #require(Platform(wanted))
        #expect(Self.index(offered).manifest(for: platform)?.digest == Digest.of([UInt8(expected)]))
    }

    @Test(arguments: [
        ("linux/amd64", ["linux/arm64", "linux/amd64/v2"]), ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/riscv64", ["linux/amd64"]),
    ])
    func `what cannot run is not chosen`(wanted: String, offered: [String]) throws {
        let platform = try #require(Platform(wanted))
        #expect(Self.index(offered).manifest(for: platform) == nil)
    }

    @Test func `a manifest without platform is the last choice and an attestation none`() throws {
        let platform = try #require(Platform("linux/amd64"))
        #expect(Self.index([nil, "linux/amd64"]).manifest(for: platform)?.digest == Digest.of([1]))
        var index = Self.index([nil])
        #expect(index.manifest(for: platform) != nil)
        index.manifests[0].annotations = ["vnd.docker.reference.type": "attestation-manifest"]
        #expect(index.manifest(for: platform) == nil)
    }
}
