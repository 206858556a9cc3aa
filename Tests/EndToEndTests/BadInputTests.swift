internal import Foundation
internal import Glibc
internal import RegistryFixtures
internal import Testing

/// What users see when they, or their machines, are at fault: one clear message, the right status, nothing left.
extension EndToEnd {
    @Suite struct BadInput {
        private static let failed: Int32 = 1
        private static let unreachable: Int32 = 75

        @Test func `builds that can't succeed say why and leave nothing behind`() async throws {
            try await withWorkspace { workspace in
                let registry = try await DockerRegistry.start()
                defer { registry.stop() }
                let refusing = try await LoopbackHTTPServer.start { _ in
                    .init(401, headers: [("WWW-Authenticate", "Basic realm=\"test\"")])
                }
                let nobody = "127.0.0.1:\(try DockerRegistry.freePort())"
                let configuration = try workspace.write(
                    [registry.host, refusing.host, nobody].map { "[registry.\"\($0)\"]\nhttp = true\n" }.joined(),
                    to: "config.toml")
                let cluster = try await TestCluster.start(["a"], in: workspace, more: ["--config", configuration])
                let node = try cluster["a"]
                let cases: [(name: String, dockerfile: String, says: [String])] = [
                    (
                        "an unknown instruction", "FROM base\nRUN true\nCPOY a b\n",
                        ["Dockerfile:3", ">>> CPOY a b", "unknown instruction: CPOY", "COPY"]
                    ),
                    (
                        "a file that is not in the context", "FROM base\nCOPY nothing /\n",
                        ["nothing", ">>> COPY nothing /"]
                    ),
                    (
                        "a registry that nobody runs", "FROM \(nobody)/x:1\n",
                        [nobody + "/x:1", nobody, ">>> FROM \(nobody)/x:1"]
                    ),
                    (
                        "an image that does not exist", "FROM \(registry.host)/x:1\n",
                        [registry.host + "/x:1: not found", "\(registry.host) answered 404"]
                    ),
                    (
                        "a registry that refuses", "FROM \(refusing.host)/x:1\n",
                        [refusing.host + "/x:1", "\(refusing.host) answered 401", "docker login"]
                    ),
                    (
                        "a step that fails", "FROM base\nRUN echo working; exit 3\n",
                        ["working", "exit code: 3", "Dockerfile:2", ">>> RUN echo working; exit 3"]
                    ),
                ]
                for (name, dockerfile, says) in cases {
                    let context = try workspace.context(dockerfile, ["a": "a"])
                    let result = try await node.build(context, base: cluster.base)
                    #expect(result.status == Self.failed, "\(name): \(result.errors)")
                    for text in says { #expect(result.errors.contains(text), "\(name): \(result.errors)") }
                    #expect(result.errors.split(separator: "\n").count { $0.hasPrefix("ERROR: failed to solve") } == 1)
                    #expect(result.output.isEmpty)
                }
                try await refusing.stop()
                #expect(try await node.status().builds.isEmpty)
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `a step that fills the disk fails with that word, and the node goes on`() async throws {
            try await withWorkspace { workspace in
                let base = try await BaseImage.make(in: workspace)
                let disk = try workspace.addMemoryFileSystem("disk", bytes: 48 << 20)
                let node = try TestNode("a", in: workspace, keyFile: nil, root: disk + "/root")
                try await node.start()
                let full = try workspace.context("FROM base\nRUN head -c 100000000 /dev/zero > /big\n")
                let result = try await node.build(full, base: base)
                #expect(result.status == Self.failed)
                let message = result.errors.split(separator: "\n").last ?? ""
                #expect(message.contains("no space left on device: \(node.root)"), "\(result.errors)")
                // What the step wrote is gone: there is room again.
                let small = try workspace.context("FROM base\nRUN head -c 10000000 /dev/zero > /small\n")
                try await node.mustBuild(small, base: base)
                try await node.stop()
                #expect(try workspace.leftovers(ofRoots: [node.root]) == [])
            }
        }

        @Test func `an address that nobody listens on is a status of its own`() async throws {
            try await withWorkspace { workspace in
                let context = try workspace.context("FROM scratch\n")
                let addresses = [
                    "unix://\(workspace.path)/no.sock", "tcp://127.0.0.1:\(try DockerRegistry.freePort())",
                ]
                for address in addresses {
                    for arguments in [["build", "--addr", address, context], ["status", "--addr", address]] {
                        let result = try await workspace.run([try TestNode.binary()] + arguments)
                        #expect(result.status == Self.unreachable, "\(result.errors)")
                        #expect(result.errors.contains(address), "\(result.errors)")
                        #expect(result.output.isEmpty)
                    }
                }
            }
        }

        @Test func `nodes that may not start say why and leave the root alone`() async throws {
            try await withWorkspace { workspace in
                let key = try await TestCluster.writeKey(in: workspace)
                let open = try workspace.write(try workspace.text(of: key), to: "open-key", mode: 0o644)
                let readable = try TestNode("a", in: workspace, keyFile: open)
                try await Self.expectRefusal(of: readable, saying: [open, "644", "chmod 600"])

                let exposed = try TestNode("b", in: workspace, bind: "0.0.0.0:0", keyFile: nil)
                try await Self.expectRefusal(of: exposed, saying: ["0.0.0.0:0", "--cluster-key-file"])

                let first = try TestNode("c", in: workspace, keyFile: key)
                try await first.start()
                let second = try TestNode("d", in: workspace, keyFile: key, root: first.root)
                try await Self.expectRefusal(of: second, saying: [first.root, "another"])
                #expect(try await first.status().alive == ["c"])
                try await first.stop()
                #expect(try workspace.leftovers(ofRoots: [readable.root, exposed.root, first.root]) == [])
            }
        }

        private static func expectRefusal(of node: TestNode, saying texts: [String]) async throws {
            try node.launch()
            let result = try #require(try await node.process?.end(within: 60))
            #expect(result.status == failed)
            for text in texts { #expect(result.errors.contains(text), "\(result.errors)") }
            // Faults of the configuration stand below a heading.
            #expect(result.errors.split(separator: "\n").count <= 2, "\(result.errors)")
            let socket = node.address.dropFirst("unix://".count)
            #expect(!FileManager.default.fileExists(atPath: String(socket)))
        }
    }
}
