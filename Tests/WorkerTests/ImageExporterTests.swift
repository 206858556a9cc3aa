import ClusterModel
import ContentStore
import Foundation
import OCI
import Registry
import RegistryFixtures
import Snapshots
import Testing

@testable import Worker

@Suite struct ImageExporterTests {
    private static func input(_ chain: LayerChain, base: [UInt8]?, _ attributes: [String: String]) -> ExportInput {
        let config =
            #"{"architecture":"\#(Platform.host.architecture)","os":"linux","config":{"Cmd":["/bin/sh"]},"#
            + #""history":[{"created":"2020-01-01T00:00:00Z","created_by":"busybox"},{"created":"2020-01-01T00:00:00Z","#
            + #""created_by":"release"},{"created_by":"COPY hello /app/"}]}"#
        return ExportInput(
            items: [ExportInput.Item(platform: .host, chain: chain, config: Array(config.utf8), baseConfig: base)],
            metadata: ["frontend.note": Array("n".utf8), "other": [1]], attributes: attributes)
    }

    /// A node with a pulled base image and one layer over it.
    private static func withImage(
        _ body: (DockerRegistry, ImageFixture, ImageFixture.BaseImage, LayerChain) async throws -> Void
    ) async throws {
        let registry = try await DockerRegistry.start()
        defer { registry.stop() }
        try await ImageFixture.with { node in
            let base = try await node.pushBase(to: "\(registry.host)/base:1")
            let pulled = try await node.source.fetch(base.reference, platform: .host, credentials: AnonymousAccess())
            try await body(registry, node, base, try node.addingLayer(to: pulled))
        }
    }

    @Test func `a pushed image is pulled elsewhere with the same tree, its base blobs byte for byte`() async throws {
        try await Self.withImage { registry, node, base, chain in
            let name = "\(registry.host)/app:1"
            // The blobs of the base image need not be here: the registry has them.
            for layer in base.layers { try node.content.delete(layer.digest) }
            let response = try await node.exporter().exportImage(
                Self.input(chain, base: base.config, ["name": name + ",\(registry.host)/other/app:2", "push": "true"]))
            #expect(!node.content.contains(base.layers[0].digest))
            #expect(response["frontend.note"] == "n")
            #expect(response["other"] == nil)
            #expect(response["image.name"] == name + ",\(registry.host)/other/app:2")
            for reference in [name, "\(registry.host)/other/app:2"] {
                try await ImageFixture.with { other in
                    let parsed = try Reference(parsing: reference)
                    let resolved = try await other.source.resolve(
                        parsed, platform: .host, credentials: AnonymousAccess())
                    #expect(resolved.digest.description == response["containerimage.digest"])
                    #expect(Digest.of(resolved.config).description == response["containerimage.config.digest"])
                    let again = try await other.source.fetch(parsed, platform: .host, credentials: AnonymousAccess())
                    #expect(again.id == chain.id)
                    #expect(again.layers.prefix(2).map { $0.blob?.digest } == base.layers.map(\.digest))
                    let config = try JSONDecoder().decode(ImageConfig.self, from: Data(resolved.config))
                    #expect(config.history?.map(\.createdBy) == ["busybox", "release", "COPY hello /app/"])
                    #expect(config.created == "2020-09-13T12:26:40Z")
                }
            }
        }
    }

    @Test(arguments: ["gzip", "zstd", "uncompressed"])
    func `two nodes export the same digests`(compression: String) async throws {
        try await Self.withImage { registry, node, base, chain in
            let attributes = ["compression": compression, "name": "app"]
            let first = try await node.exporter().assemble(
                Self.input(chain, base: base.config, attributes), kind: .oci)
            let again = try await node.exporter().assemble(
                Self.input(chain, base: base.config, attributes), kind: .oci)
            #expect(again.root == first.root)
            try await ImageFixture.with { other in
                let pulled = try await other.source.fetch(
                    base.reference, platform: .host, credentials: AnonymousAccess())
                let second = try await other.exporter().assemble(
                    Self.input(try other.addingLayer(to: pulled), base: base.config, attributes), kind: .oci)
                #expect(second.root == first.root)
                #expect(second.response == first.response)
            }
        }
    }

    @Test func `an oci archive is read by skopeo and unpacked by umoci`() async throws {
        try await Self.withImage { registry, node, base, chain in
            let exporter = node.exporter()
            let image = try await exporter.assemble(
                Self.input(chain, base: base.config, ["name": "team/app:7", "annotation.org.x": "y"]), kind: .oci)
            let sink = MemorySink()
            try await exporter.exportArchive(image, kind: .oci, to: sink)
            let archive = node.directory + "/image.tar"
            try await sink.save(to: archive)
            let members = try DockerRegistry.output("/usr/bin/tar", ["-tf", archive]).split(separator: "\n").map(
                String.init)
            #expect(members.prefix(2) == ["blobs/", "blobs/sha256/"])
            #expect(members.suffix(2) == ["index.json", "oci-layout"])
            #expect(members == Array(Set(members)).sorted())
            let inspected = try DockerRegistry.output(
                "/usr/bin/skopeo", ["inspect", "--raw", "oci-archive:" + archive])
            #expect(Digest.of(inspected.utf8) == image.root.digest)
            #expect(inspected.contains("\n  \"annotations\": {\n    \"org.x\": \"y\"\n  }\n}"))
            let layout = node.directory + "/oci"
            _ = try DockerRegistry.output(
                "/usr/bin/skopeo", ["copy", "--insecure-policy", "-q", "oci-archive:" + archive, "oci:\(layout):7"])
            let bundle = node.directory + "/bundle"
            _ = try DockerRegistry.output("/usr/bin/umoci", ["unpack", "--image", layout + ":7", bundle])
            #expect(try String(contentsOfFile: bundle + "/rootfs/app/hello", encoding: .utf8) == "hello")
            #expect(try String(contentsOfFile: bundle + "/rootfs/etc/release", encoding: .utf8) == "new")
            #expect(!FileManager.default.fileExists(atPath: bundle + "/rootfs/etc/gone"))
        }
    }

    @Test func `a docker archive is read by skopeo`() async throws {
        try await Self.withImage { registry, node, base, chain in
            let exporter = node.exporter()
            let image = try await exporter.assemble(
                Self.input(chain, base: base.config, ["name": "docker.io/library/app:7"]), kind: .docker)
            let sink = MemorySink()
            try await exporter.exportArchive(image, kind: .docker, to: sink)
            let archive = node.directory + "/image.tar"
            try await sink.save(to: archive)
            let layout = node.directory + "/copy"
            _ = try DockerRegistry.output(
                "/usr/bin/skopeo",
                ["copy", "--insecure-policy", "-q", "docker-archive:\(archive):app:7", "oci:\(layout):7"])
            let bundle = node.directory + "/bundle"
            _ = try DockerRegistry.output("/usr/bin/umoci", ["unpack", "--image", layout + ":7", bundle])
            #expect(try String(contentsOfFile: bundle + "/rootfs/app/hello", encoding: .utf8) == "hello")
        }
    }

    @Test func `content of tar=false arrives with documents last`() async throws {
        try await Self.withImage { registry, node, base, chain in
            let exporter = node.exporter()
            let image = try await exporter.assemble(Self.input(chain, base: base.config, [:]), kind: .oci)
            let client = MemoryContentStore()
            try await exporter.exportContent(image, to: client)
            let blobs = await client.blobs
            #expect(blobs.allSatisfy { Digest.of($0.value) == $0.key })
            #expect(blobs.count == 5)
            #expect(await client.names.last == "manifest-\(image.root.digest)")
        }
    }

    @Test func `several platforms make an index, which docker refuses`() async throws {
        try await Self.withImage { registry, node, base, chain in
            var input = Self.input(chain, base: base.config, ["name": "\(registry.host)/multi:1", "push": "true"])
            var second = input.items[0]
            second.platform = Platform(os: "linux", architecture: "riscv64")
            second.config = nil
            input.items.append(second)
            let response = try await node.exporter().exportImage(input)
            #expect(response["containerimage.config.digest"] == nil)
            let raw = try DockerRegistry.output(
                "/usr/bin/skopeo", ["inspect", "--tls-verify=false", "--raw", "docker://\(registry.host)/multi:1"])
            #expect(Digest.of(raw.utf8).description == response["containerimage.digest"])
            let index = try JSONDecoder().decode(ImageIndex.self, from: Data(raw.utf8))
            #expect(index.platforms.map(\.description) == [Platform.host.description, "linux/riscv64"])
            let refused = input
            await #expect(throws: ExportError.self) { try await node.exporter().assemble(refused, kind: .docker) }
        }
    }

    @Test func `base blobs that no peer has come from their registry`() async throws {
        try await Self.withImage { registry, node, base, chain in
            for layer in base.layers { try node.content.delete(layer.digest) }
            let exporter = node.exporter(fetcher: { _ in false })
            let image = try await exporter.assemble(Self.input(chain, base: base.config, [:]), kind: .oci)
            try await exporter.exportArchive(image, kind: .oci, to: MemorySink())
            #expect(node.content.contains(base.layers[0].digest))
        }
    }

    @Test func `a push to a registry that is not there names image and registry`() async throws {
        try await Self.withImage { registry, node, base, chain in
            let name = "127.0.0.1:\(try DockerRegistry.freePort())/app:1"
            let error = await #expect(throws: ExportError.self) {
                try await node.exporter().exportImage(
                    Self.input(chain, base: base.config, ["name": name, "push": "true"]))
            }
            #expect(error?.description.hasPrefix("failed to push \(name): ") == true)
        }
    }

    @Test func `a tree is exported as an archive and as a directory`() async throws {
        try await Self.withImage { registry, node, base, chain in
            let exporter = TreeExporter(snapshots: node.snapshots, workDirectory: node.directory + "/work")
            var input = Self.input(chain, base: nil, [:])
            let sink = MemorySink()
            _ = try await exporter.exportTar(input, to: sink)
            let archive = node.directory + "/tree.tar"
            try await sink.save(to: archive)
            let hello = try DockerRegistry.output("/usr/bin/tar", ["-xOf", archive, "app/hello"])
            #expect(hello == "hello")
            let names = try DockerRegistry.output("/usr/bin/tar", ["-tf", archive])
            #expect(!names.contains("etc/gone"))
            var second = input.items[0]
            second.platform = Platform(os: "linux", architecture: "riscv64")
            input.items.append(second)
            try await exporter.withDirectory(input) { path in
                for name in [Platform.host.description, "linux/riscv64"] {
                    let file = path + "/" + name.replacing("/", with: "_") + "/app/hello"
                    let text = try String(contentsOfFile: file, encoding: .utf8)
                    #expect(text == "hello")
                }
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: node.directory + "/work").isEmpty)
        }
    }
}
