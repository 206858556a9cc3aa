internal import Foundation
internal import RegistryFixtures
internal import Testing

/// A cluster, each node in a network namespace of its own, and Debian's registry in another.
extension EndToEnd {
    @Suite struct SharedImages {
        private static let nodes = ["a", "b", "c", "d", "e"]
        /// The base image's one, and these.
        private static let layers = 5
        private static let image = """
            FROM base
            RUN head -c 3000000 /dev/urandom > /1
            RUN head -c 3000000 /dev/urandom > /2
            RUN head -c 3000000 /dev/urandom > /3
            RUN head -c 3000000 /dev/urandom > /4
            """

        @Test func `five nodes that want one image at once read each blob once, and a sixth none`() async throws {
            try await withWorkspace { workspace in
                let network = try await NamespaceNetwork.make(
                    Self.nodes + ["late", "maker", "registry"], in: workspace)
                let registry = try await DockerRegistry.start(
                    address: try network.address(of: "registry"), namespace: network.namespace(of: "registry"))
                defer { registry.stop() }
                let configuration = try workspace.write(
                    "[registry.\"\(registry.host)\"]\nhttp = true\n", to: "config.toml")
                let more = ["--config", configuration]
                let name = registry.host + "/team/image:one"
                let pushed = try await Self.push(name, from: network, to: registry, workspace, more)

                let cluster = try await TestCluster.start(Self.nodes, in: workspace, network: network, more: more)
                let builds = try cluster.nodes.map { node in
                    try node.startBuild(
                        try Self.context(name, node, workspace), base: cluster.base,
                        ["-o", "type=local,dest=\(workspace.path)/tree-\(node.name)"])
                }
                for build in builds {
                    let result = try await build.end()
                    #expect(result.status == 0, "\(result.errors)")
                }
                try await eventually("the registry has written its log") {
                    try Self.reads(registry, since: pushed).count >= Self.layers + 1
                }
                // The layers and the config, each for one node of the five.
                let reads = try Self.reads(registry, since: pushed)
                #expect(reads.count == Self.layers + 1 && reads.values.allSatisfy { $0 == 1 }, "\(reads)")
                let sum = try workspace.text(of: workspace.path + "/tree-a/sum")
                for node in cluster.nodes {
                    #expect(try workspace.text(of: workspace.path + "/tree-\(node.name)/sum") == sum)
                }
                let counted = try await Self.registryBytes(of: cluster)
                #expect(counted > 12_000_000 && counted < 14_000_000, "\(counted)")

                registry.halt()
                let late = try TestNode(
                    "late", in: workspace, bind: try network.address(of: "late") + ":7946",
                    join: [try await cluster["a"].peerAddress()], keyFile: workspace.path + "/key",
                    namespace: network.namespace(of: "late"), more: more)
                try await late.start()
                try await late.waitForMember("e", "alive")
                let tree = workspace.path + "/tree-late"
                try await late.mustBuild(
                    try Self.context(name, late, workspace), base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                #expect(try workspace.text(of: tree + "/sum") == sum)
                #expect(try await late.status().counters.registryBytesPulled == 0)
                #expect(try await late.explain().pulledBytes > 12_000_000)
                try await late.stop()
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        /// Makes the image on a node that is gone afterwards; gives the registry's reads so far.
        private static func push(
            _ name: String, from network: NamespaceNetwork, to registry: DockerRegistry, _ workspace: Workspace,
            _ more: [String]
        ) async throws -> [String: Int] {
            let base = try await BaseImage.make(in: workspace)
            let key = try await TestCluster.writeKey(in: workspace, as: "maker-key")
            let maker = try TestNode(
                "maker", in: workspace, bind: try network.address(of: "maker") + ":7946", keyFile: key,
                namespace: network.namespace(of: "maker"), more: more)
            try await maker.start()
            try await maker.mustBuild(
                try workspace.context(image), base: base, ["-o", "type=image,name=\(name),push=true"])
            try await maker.stop()
            return try registry.blobReads()
        }

        /// One step on the image, another one at each node: nobody gets it from another.
        private static func context(_ name: String, _ node: TestNode, _ workspace: Workspace) throws -> String {
            try workspace.context("FROM \(name)\nRUN cat /1 /2 /3 /4 | sha256sum > /sum; echo \(node.name) > /name\n")
        }

        private static func reads(_ registry: DockerRegistry, since: [String: Int]) throws -> [String: Int] {
            try registry.blobReads().merging(since) { $0 - $1 }.filter { $0.value != 0 }
        }

        private static func registryBytes(of cluster: TestCluster) async throws -> Int {
            var sum = 0
            for node in cluster.nodes { sum += try await node.status().counters.registryBytesPulled }
            return sum
        }
    }
}
