import ClusterModel
import ContentStore
import Foundation
import OCI
import Registry
import RegistryFixtures
import Snapshots
import Synchronization
import Testing

@testable import Worker

@Suite struct ImageSourceTests {
    @Test func `a pulled image has its tree, its digests and its blobs' names`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            let resolved = try await node.source.resolve(
                base.reference, platform: .host, credentials: AnonymousAccess())
            #expect(resolved.digest == Digest.of(base.manifest))
            #expect(resolved.config == base.config)
            let reports = Mutex<[String]>([])
            let chain = try await node.source.fetch(
                base.reference, platform: .host, credentials: AnonymousAccess(),
                progress: { id, _, _, _, done in
                    if done { reports.withLock { $0.append(id) } }
                })
            #expect(chain.layers.map(\.diffID) == base.diffIDs)
            #expect(chain.layers.map { $0.blob?.digest } == base.layers.map(\.digest))
            let view = try node.snapshots.view(of: chain)
            defer { view.release() }
            #expect(try String(contentsOfFile: view.path + "/etc/release", encoding: .utf8) == "new")
            #expect(!FileManager.default.fileExists(atPath: view.path + "/etc/gone"))
            #expect(FileManager.default.contentsEqual(atPath: "/bin/busybox", andPath: view.path + "/bin/busybox"))
            let done = Set(reports.withLock { $0 })
            let expected =
                ["resolve \(base.reference)"] + base.layers.flatMap { ["\($0.digest)", "extracting \($0.digest)"] }
            #expect(done == Set(expected))
        }
    }

    @Test func `layers that are here are not pulled again, nor is a known digest resolved`() async throws {
        let registry = try await DockerRegistry.start()
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            let first = try await node.source.fetch(base.reference, platform: .host, credentials: AnonymousAccess())
            for layer in base.layers { try node.content.delete(layer.digest) }
            registry.stop()
            var pinned = base.reference
            pinned.digest = Digest.of(base.manifest)
            let second = try await node.source.fetch(pinned, platform: .host, credentials: AnonymousAccess())
            #expect(second == first)
        }
    }

    @Test func `a blob or document that is damaged on the disk is fetched again`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            let first = try await node.source.fetch(base.reference, platform: .host, credentials: AnonymousAccess())
            for layer in first.layers { try node.snapshots.remove(layer.id) }
            let blobs = base.layers.map(\.digest) + [Digest.of(base.config), Digest.of(base.manifest)]
            for blob in blobs {
                var bytes = try node.content.read(blob)
                bytes[bytes.count / 2] ^= 1
                try Data(bytes).write(to: URL(fileURLWithPath: node.content.path(of: blob)))
            }
            let second = try await node.source.fetch(base.reference, platform: .host, credentials: AnonymousAccess())
            #expect(second == first)
            for blob in blobs { #expect(try node.content.reader(of: blob).damage() == nil) }
        }
    }

    @Test func `an image whose layer is not that of its configuration is refused, and its blob kept`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            let provider = RegistryBlobs(
                node.registry.repository(of: base.reference, credentials: AnonymousAccess()))
            var config = ImageConfig(platform: .host)
            config.rootfs = ImageConfig.RootFilesystem(diffIDs: base.diffIDs.reversed())
            let loaded = ImageLoader.Loaded(
                manifestDigest: Digest.of(base.manifest),
                manifest: try JSONDecoder().decode(ImageManifest.self, from: Data(base.manifest)),
                config: [UInt8](try JSONEncoder().encode(config)))
            await #expect(throws: ArchiveError.self) {
                try await node.loader.layers(
                    of: loaded, limit: 1, from: provider, blobFetcher: nil, progress: { _, _, _, _, _ in })
            }
            #expect(node.content.contains(base.layers[0].digest))
        }
    }

    @Test func `peers are asked for blobs before the registry`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            try await ImageFixture.with { other in
                _ = try await node.source.fetch(base.reference, platform: .host, credentials: AnonymousAccess())
                let reports = Mutex<[Digest]>([])
                _ = try await other.source.fetch(
                    base.reference, platform: .host, credentials: AnonymousAccess(),
                    blobFetcher: { blob in
                        reports.withLock { $0.append(blob.digest) }
                        try other.content.put(try node.content.read(blob.digest), expected: blob.digest)
                        return true
                    })
                #expect(Set(reports.withLock { $0 }) == Set(base.layers.map(\.digest)))
            }
        }
    }

    @Test func `a layer limit keeps the first layers and a wrong checksum is refused`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            let limited = try await node.source.fetch(
                base.reference, platform: .host, attributes: ImageAttributes(attributes: ["image.layerlimit": "1"]),
                credentials: AnonymousAccess())
            #expect(limited.layers.map(\.diffID) == [base.diffIDs[0]])
            let wrong = try ImageAttributes(attributes: ["image.checksum": Digest.of([1]).description])
            let error = await #expect(throws: ImageError.self) {
                try await node.source.fetch(
                    base.reference, platform: .host, attributes: wrong, credentials: AnonymousAccess())
            }
            #expect(error?.description.contains("digest mismatch") == true)
        }
    }

    @Test func `a missing image is told as BuildKit tells it`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let name = "\(registry.host)/nothing:1"
            let error = await #expect(throws: ImageError.self) {
                try await node.source.resolve(
                    try Reference(parsing: name), platform: .host, credentials: AnonymousAccess())
            }
            let text = try #require(error?.description)
            #expect(text.hasPrefix("failed to resolve source metadata for \(name): not found"))
        }
    }

    @Test func `an image of a client's content store and one of a directory give the same tree`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            let pulled = try await node.source.fetch(base.reference, platform: .host, credentials: AnonymousAccess())
            let client = MemoryContentStore()
            let layout = node.directory + "/layout"
            try FileManager.default.createDirectory(atPath: layout + "/blobs/sha256", withIntermediateDirectories: true)
            let blobs = try base.layers.map { try node.content.read($0.digest) } + [base.config, base.manifest]
            for blob in blobs {
                await client.set(blob)
                try Data(blob).write(to: URL(fileURLWithPath: layout + "/blobs/sha256/" + Digest.of(blob).hex))
            }
            for provider in [SessionBlobs(client, name: "lib"), LayoutDirectoryBlobs(directory: layout)]
                as [any BlobProvider]
            {
                try await ImageFixture.with { other in
                    let source = OCILayoutSource(loader: other.loader)
                    let digest = Digest.of(base.manifest)
                    #expect(try await source.resolve(digest, platform: .host, in: provider).config == base.config)
                    let chain = try await source.fetch(digest, platform: .host, in: provider)
                    #expect(chain.id == pulled.id)
                }
            }
        }
    }
}
