import ClusterModel
import ContentStore
import Foundation
import Logging
import OCI
import Registry
import RegistryFixtures
import Snapshots

@testable import Worker

/// One node's stores in a temporary directory, and base images made of this machine's busybox.
final class ImageFixture: Sendable {
    let directory: String
    let content: ContentStore
    let snapshots: SnapshotStore
    let loader: ImageLoader
    let registry: RegistryClient
    let source: ImageSource

    init() throws {
        directory = FileManager.default.temporaryDirectory.path + "/peerbuild-image-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        content = try ContentStore(root: directory + "/content")
        snapshots = try SnapshotStore(root: directory + "/snapshots")
        loader = ImageLoader(
            content: content, snapshots: snapshots, index: try LayerBlobIndex(directory: directory + "/index"))
        registry = RegistryClient(configuration: RegistryConfiguration(), logger: Logger(label: "test"))
        source = ImageSource(registry: registry, loader: loader)
    }

    /// Runs `body` with a fresh node and removes the node's state afterwards.
    static func with(_ body: (ImageFixture) async throws -> Void) async throws {
        let fixture = try ImageFixture()
        do {
            try await body(fixture)
        } catch {
            try await fixture.close()
            throw error
        }
        try await fixture.close()
    }

    private func close() async throws {
        try await registry.shutdown()
        try FileManager.default.removeItem(atPath: directory)
    }

    func exporter(fetcher: BlobFetcher? = nil) -> ImageExporter {
        ImageExporter(loader: loader, registry: registry, credentials: AnonymousAccess(), blobFetcher: fetcher)
    }

    /// Pushes an image of two layers: busybox with its links, then a file that replaces and one that deletes.
    func pushBase(to name: String) async throws -> BaseImage {
        let lower = try tar("lower") { root in
            try FileManager.default.createDirectory(atPath: root + "/bin", withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: "/bin/busybox", toPath: root + "/bin/busybox")
            try FileManager.default.createSymbolicLink(atPath: root + "/bin/sh", withDestinationPath: "busybox")
            try FileManager.default.createDirectory(atPath: root + "/etc", withIntermediateDirectories: true)
            try "old".write(toFile: root + "/etc/release", atomically: false, encoding: .utf8)
            try "gone".write(toFile: root + "/etc/gone", atomically: false, encoding: .utf8)
        }
        let upper = try tar("upper") { root in
            try FileManager.default.createDirectory(atPath: root + "/etc", withIntermediateDirectories: true)
            try "new".write(toFile: root + "/etc/release", atomically: false, encoding: .utf8)
            try "".write(toFile: root + "/etc/.wh.gone", atomically: false, encoding: .utf8)
        }
        var config = ImageConfig(platform: .host)
        config.created = "2020-01-01T00:00:00Z"
        config.config.cmd = ["/bin/sh"]
        config.rootfs = ImageConfig.RootFilesystem(diffIDs: [lower.diffID, upper.diffID])
        config.history = [
            ImageConfig.History(created: "2020-01-01T00:00:00Z", createdBy: "busybox"),
            ImageConfig.History(created: "2020-01-01T00:00:00Z", createdBy: "release"),
        ]
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let configBytes = [UInt8](try encoder.encode(config))
        let configBlob = Descriptor(
            mediaType: MediaType.ociConfig, digest: Digest.of(configBytes), size: Int64(configBytes.count))
        let manifest = [UInt8](
            try encoder.encode(ImageManifest(config: configBlob, layers: [lower.blob, upper.blob])))
        let reference = try Reference(parsing: name)
        let repository = registry.repository(of: reference, credentials: AnonymousAccess())
        for layer in [lower, upper] { try await repository.upload(layer.blob) { BlobSource(layer.bytes) } }
        try await repository.upload(configBlob) { BlobSource(configBytes) }
        try await repository.putManifest(manifest, mediaType: MediaType.ociManifest, as: reference.tag ?? "latest")
        return BaseImage(
            reference: reference, manifest: manifest, config: configBytes, layers: [lower.blob, upper.blob],
            diffIDs: [lower.diffID, upper.diffID])
    }

    struct BaseImage {
        var reference: Reference
        var manifest: [UInt8]
        var config: [UInt8]
        var layers: [Descriptor]
        var diffIDs: [Digest]
    }

    private struct Layer {
        var blob: Descriptor
        var diffID: Digest
        var bytes: [UInt8]
    }

    private func tar(_ name: String, _ fill: (String) throws -> Void) throws -> Layer {
        let root = directory + "/" + name
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        try fill(root)
        let archive = root + ".tar"
        _ = try DockerRegistry.output(
            "/usr/bin/tar",
            ["-C", root, "--sort=name", "--mtime=@1500000000", "--owner=0", "--group=0", "-cf", archive, "."])
        let plain = [UInt8](try Data(contentsOf: URL(fileURLWithPath: archive)))
        // Another level than ours, so that a compressed copy of our own would differ.
        _ = try DockerRegistry.output("/usr/bin/gzip", ["-1", "-n", "-k", archive])
        let packed = [UInt8](try Data(contentsOf: URL(fileURLWithPath: archive + ".gz")))
        return Layer(
            blob: Descriptor(
                mediaType: MediaType.ociLayerGzip, digest: Digest.of(packed), size: Int64(packed.count)),
            diffID: Digest.of(plain), bytes: packed)
    }

    /// `chain` with one more layer, in which `/app/hello` is new.
    func addingLayer(to chain: LayerChain, text: String = "hello") throws -> LayerChain {
        let work = try snapshots.prepare(over: chain)
        let directory = work.path + "/app"
        let time = [FileAttributeKey.modificationDate: Date(timeIntervalSince1970: 1_600_000_000)]
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try text.write(toFile: directory + "/hello", atomically: false, encoding: .utf8)
        for path in [directory + "/hello", directory, work.path] {
            try FileManager.default.setAttributes(time, ofItemAtPath: path)
        }
        guard let layer = try snapshots.commit(work) else { return chain }
        return chain.appending(layer)
    }
}
