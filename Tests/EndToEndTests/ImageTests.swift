internal import Foundation
internal import RegistryFixtures
internal import Testing

/// Images as other tools and a real registry see them.
extension EndToEnd {
    @Suite struct Images {
        private static let dockerfile = """
            FROM base
            RUN mkdir /data && echo text > /data/file && chmod 4711 /data/file && rm -r /home
            ENV GREETING=hello
            LABEL made.by=test
            USER nobody
            CMD ["cat", "/data/file"]
            """

        @Test func `an OCI archive is accepted by skopeo and umoci`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a"], in: workspace)
                let context = try workspace.context(Self.dockerfile)
                let archive = workspace.path + "/image.tar"
                try await cluster["a"].mustBuild(
                    context, base: cluster.base, ["-t", "example/image:one", "-o", "type=oci,dest=\(archive)"])

                let text = try await workspace.check(["skopeo", "inspect", "oci-archive:" + archive])
                let image = try JSONDecoder().decode(Inspection.self, from: Data(text.utf8))
                #expect(image.Labels == ["made.by": "test"])
                #expect(image.Env?.contains("GREETING=hello") == true)
                #expect(image.Layers.count == 2)

                let layout = workspace.path + "/layout"
                try await workspace.check(["skopeo", "copy", "oci-archive:" + archive, "oci:\(layout):one"])
                let bundle = workspace.path + "/bundle"
                try await workspace.check(["umoci", "unpack", "--image", layout + ":one", bundle])
                #expect(try workspace.text(of: bundle + "/rootfs/data/file") == "text\n")
                #expect(!FileManager.default.fileExists(atPath: bundle + "/rootfs/home"))
                let mode = try await workspace.check(["stat", "-c", "%a", bundle + "/rootfs/data/file"])
                #expect(mode == "4711\n")
            }
        }

        @Test func `an image is pushed to a registry, found equal there, and built on by another node`() async throws {
            try await withWorkspace { workspace in
                let registry = try await DockerRegistry.start()
                defer { registry.stop() }
                let configuration = try workspace.write(
                    "[registry.\"\(registry.host)\"]\nhttp = true\n", to: "config.toml")
                let cluster = try await TestCluster.start(
                    ["a", "b"], in: workspace, more: ["--config", configuration])
                let context = try workspace.context(Self.dockerfile)
                let name = registry.host + "/team/image:one"
                let metadata = workspace.path + "/metadata.json"
                try await cluster["a"].mustBuild(
                    context, base: cluster.base,
                    ["-o", "type=image,name=\(name),push=true", "--metadata-file", metadata])
                let digest = try JSONDecoder().decode(
                    Metadata.self, from: Data(try workspace.text(of: metadata).utf8)
                ).digest

                let source = ["skopeo", "inspect", "--tls-verify=false", "docker://" + name]
                let image = try JSONDecoder().decode(
                    Inspection.self, from: Data(try await workspace.check(source).utf8))
                #expect(image.Digest == digest)
                // All blobs are there and what they say they are.
                let copy = workspace.path + "/copy"
                try await workspace.check(
                    ["skopeo", "copy", "--src-tls-verify=false", "docker://" + name, "oci:\(copy):one"])

                // Over HTTP, on the node that has nothing of it.
                let onTop = try workspace.context(
                    "FROM \(name)\nUSER root\nRUN test $GREETING = hello && cp /data/file /copy\n")
                let tree = workspace.path + "/tree"
                let alone = try TestNode("alone", in: workspace, keyFile: nil, more: ["--config", configuration])
                try await alone.start()
                try await alone.mustBuild(onTop, base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                #expect(try workspace.text(of: tree + "/copy") == "text\n")
                #expect(!FileManager.default.fileExists(atPath: tree + "/home"))
            }
        }

        private struct Inspection: Decodable {
            var Digest: String
            var Labels: [String: String]?
            var Env: [String]?
            var Layers: [String]
        }

        private struct Metadata: Decodable {
            enum CodingKeys: String, CodingKey { case digest = "containerimage.digest" }
            var digest: String
        }
    }
}
