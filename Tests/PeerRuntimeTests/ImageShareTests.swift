import ClusterModel
import Foundation
import Logging
import OCI
import Registry
import RegistryFixtures
import Testing

@testable import PeerRuntime
@testable import Worker

@Suite(.serialized) struct `An image that all nodes want at once` {
    private static let layers = 5

    @Test func `is read once from its registry, and without the registry from each other`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        let blobs = try await Self.push(to: registry, AnonymousAccess())
        let reference = try Reference(parsing: registry.host + "/team/base:1")
        try await TestCluster.with(6) { cluster in
            let trees = try await Self.fetch(reference, at: cluster.nodes[..<5], AnonymousAccess())
            #expect(Set(trees.map { $0.layers.map(\.id) }).count == 1 && trees[0].layers.count == Self.layers)
            try await Self.expectOnce(blobs, at: registry)
            registry.halt()
            let late = try await Self.fetch(reference, at: cluster.nodes[5...], AnonymousAccess())
            #expect(late[0].layers.map(\.id) == trees[0].layers.map(\.id))
            let resolved = try await cluster.nodes[5].parts.metadata.images.resolve(
                reference, platform: .host, credentials: AnonymousAccess())
            #expect(resolved.warning?.contains("cannot reach") == true)
            #expect(resolved.warning?.contains("resolved it 0 min ago") == true)
            await #expect(throws: (any Error).self) {
                _ = try await cluster.nodes[5].parts.metadata.images.resolve(
                    reference, platform: .host, mode: .pull, credentials: AnonymousAccess())
            }
        }
    }

    @Test(.enabled(if: DockerRegistry.canAuthenticate))
    func `is pulled by its owner with the login of the build that asks`() async throws {
        let registry = try await DockerRegistry.start(user: "ann", password: "word")
        defer { registry.stop() }
        let ann = ClosureCredentials { _ in RegistryLogin(username: "ann", secret: "word") }
        let blobs = try await Self.push(to: registry, ann)
        let reference = try Reference(parsing: registry.host + "/team/base:1")
        try await TestCluster.with(4) { cluster in
            await #expect(throws: (any Error).self) {
                _ = try await Self.fetch(reference, at: cluster.nodes[..<1], AnonymousAccess())
            }
            _ = try await Self.fetch(reference, at: cluster.nodes[...], ann)
            try await Self.expectOnce(blobs, at: registry)
        }
    }

    @Test func `still comes when a node has just died`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        let blobs = try await Self.push(to: registry, AnonymousAccess())
        let reference = try Reference(parsing: registry.host + "/team/base:1")
        try await TestCluster.with(4) { cluster in
            // The others do not know yet; it owns some of the blobs, as a rule.
            await cluster.nodes[3].stop(leaving: false)
            let start = ContinuousClock.now
            _ = try await Self.fetch(reference, at: cluster.nodes[..<3], AnonymousAccess())
            #expect(ContinuousClock.now - start < ImageShare.ownerLimit)
            try await Self.expectOnce(blobs, at: registry)
        }
    }

    @Test func `comes whole without its registry although one node has damaged bytes of all blobs`() async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        let blobs = try await Self.push(to: registry, AnonymousAccess())
        let reference = try Reference(parsing: registry.host + "/team/base:1")
        try await TestCluster.with(3) { cluster in
            let trees = try await Self.fetch(reference, at: cluster.nodes[1...], AnonymousAccess())
            registry.halt()
            for blob in blobs { try Self.damage(blob, at: cluster.nodes[1]) }
            let late = try await Self.fetch(reference, at: cluster.nodes[..<1], AnonymousAccess())
            #expect(late[0].layers.map(\.id) == trees[0].layers.map(\.id))
        }
    }

    /// Flips a bit of a blob in a node's store.
    private static func damage(_ blob: Digest, at node: Node) throws {
        let url = URL(fileURLWithPath: node.settings.root + "/content/blobs/sha256/" + blob.hex)
        var bytes = try Data(contentsOf: url)
        bytes[0] ^= 1
        try bytes.write(to: url)
    }

    private static func fetch(
        _ reference: Reference, at nodes: ArraySlice<Node>, _ credentials: any CredentialSource
    ) async throws -> [LayerChain] {
        try await withThrowingTaskGroup(of: LayerChain.self) { group in
            for node in nodes {
                group.addTask {
                    try await node.parts.metadata.images.fetch(reference, platform: .host, credentials: credentials)
                }
            }
            var trees: [LayerChain] = []
            for try await tree in group { trees.append(tree) }
            return trees
        }
    }

    private static func expectOnce(_ blobs: [Digest], at registry: DockerRegistry) async throws {
        try await TestCluster.wait("the registry has written its log") { try registry.blobReads().count >= blobs.count }
        #expect(try registry.blobReads() == Dictionary(uniqueKeysWithValues: blobs.map { ($0.hex, 1) }))
    }

    /// Pushes an image of five layers of a few megabytes; its blobs, config included.
    private static func push(to registry: DockerRegistry, _ credentials: any CredentialSource) async throws -> [Digest]
    {
        let directory = registry.directory + "/layers"
        var descriptors: [Descriptor] = []
        var config = ImageConfig(platform: .host)
        let client = RegistryClient(configuration: RegistryConfiguration(), logger: Logger(label: "push"))
        let reference = try Reference(parsing: registry.host + "/team/base:1")
        let repository = client.repository(of: reference, credentials: credentials)
        var diffIDs: [Digest] = []
        for number in 0..<layers {
            let root = directory + "/\(number)"
            try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
            var random = SplitMix64(seed: UInt64(number))
            let words = (0..<(1 << 18)).map { _ in UInt64.random(in: 0...UInt64.max, using: &random) }
            try words.withUnsafeBytes { Data($0) }.write(to: URL(fileURLWithPath: root + "/file\(number)"))
            _ = try DockerRegistry.output("/usr/bin/tar", ["-C", root, "-cf", root + ".tar", "."])
            let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: root + ".tar")))
            let blob = Descriptor(
                mediaType: "application/vnd.oci.image.layer.v1.tar", digest: Digest.of(bytes), size: Int64(bytes.count))
            try await repository.upload(blob) { BlobSource(bytes) }
            descriptors.append(blob)
            diffIDs.append(blob.digest)
        }
        config.rootfs = ImageConfig.RootFilesystem(diffIDs: diffIDs)
        let configBytes = [UInt8](try JSONEncoder().encode(config))
        let configBlob = Descriptor(
            mediaType: MediaType.ociConfig, digest: Digest.of(configBytes), size: Int64(configBytes.count))
        try await repository.upload(configBlob) { BlobSource(configBytes) }
        let manifest = [UInt8](try JSONEncoder().encode(ImageManifest(config: configBlob, layers: descriptors)))
        try await repository.putManifest(manifest, mediaType: MediaType.ociManifest, as: "1")
        try await client.shutdown()
        return descriptors.map(\.digest) + [configBlob.digest]
    }
}
