internal import Foundation
internal import Glibc
internal import Testing

/// The cluster key changes while the cluster runs.
extension EndToEnd {
    @Suite struct Keys {
        private struct Key: Codable, Hashable {
            var fingerprint: String
            var state: String
        }

        private static func keys(_ node: TestNode) async throws -> [Key] {
            let result = try await node.command(["keys", "list", "--format", "json"])
            return try JSONDecoder().decode([Key].self, from: Data(result.output.utf8))
        }

        @Test func `a rotation while a build runs fails nothing, and a node that was away catches up`() async throws {
            try await withWorkspace { workspace in
                let base = try await BaseImage.make(in: workspace)
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace)
                let (a, b, c) = (try cluster["a"], try cluster["b"], try cluster["c"])
                let old = try #require(try await Self.keys(a).first)
                let port = try await c.peerAddress()
                try await c.crash()
                for node in [a, b] { try await node.waitForMember("c", "dead") }

                let context = try workspace.context(
                    "FROM base\n" + (0..<6).map { "RUN sleep 1; echo \($0) >/\($0)\n" }.joined())
                let build = try b.startBuild(context, base: base)
                #expect(try await a.command(["keys", "rotate"]).status == 0)
                #expect(try await build.end().status == 0)

                let ring = try await Self.keys(a)
                #expect(ring.map(\.state) == ["seals", "retired"] && ring.last?.fingerprint == old.fingerprint)
                #expect(try await Self.keys(b) == ring)

                // It comes back with the old key only, and nobody tells it anything by hand.
                let again = try TestNode(
                    "c", in: workspace, bind: port, keyFile: workspace.path + "/key", root: c.root)
                try await again.start()
                for node in [a, b] { try await node.waitForMember("c", "alive") }
                try await eventually("c has the new key") { try await Self.keys(again) == ring }
                try await again.mustBuild(context, base: base)
                #expect(try await again.stop() == 0)
            }
        }

        @Test func `halves that both rotated while cut apart are one cluster with one key again`() async throws {
            try await withWorkspace { workspace in
                let names = ["a", "b", "c", "d"]
                let cluster = try await TestCluster.start(names, in: workspace, namespaces: true)
                let network = try #require(cluster.network)
                let halves = [["a", "b"], ["c", "d"]]
                try await network.cut(halves[0], from: halves[1])
                for (half, others) in [(halves[0], halves[1]), (halves[1], halves[0])] {
                    for name in half {
                        for other in others { try await cluster[name].waitForMember(other, "dead") }
                    }
                    #expect(try await cluster[half[0]].command(["keys", "rotate"]).status == 0)
                }
                var apart: Set<[Key]> = []
                for node in cluster.nodes { apart.insert(try await Self.keys(node)) }
                #expect(apart.count == 2)
                // Links outlive short cuts and changes of keys; these nodes have none to the other half.
                for (name, other) in [("c", "d"), ("d", "c")] {
                    try await cluster[name].crash()
                    try await cluster[name].start()
                    try await cluster[name].waitForMember(other, "alive")
                }

                try await network.heal()
                for node in cluster.nodes {
                    try await eventually("\(node.name) has all back", state: { node.log }) {
                        try await node.status().alive == Set(names)
                    }
                }
                // Both halves' keys open, the old one for its grace; the same one seals.
                try await eventually("all have one ring") {
                    var rings: Set<[Key]> = []
                    for node in cluster.nodes { rings.insert(try await Self.keys(node)) }
                    return rings.count == 1 && rings.first?.map(\.state) == ["seals", "opens", "retired"]
                }
                try await cluster["d"].mustBuild(
                    try workspace.context("FROM base\nRUN echo healed > /healed\n"), base: cluster.base)
                // The next rotation leaves one key in service.
                #expect(try await cluster["b"].command(["keys", "rotate"]).status == 0)
                #expect(try await Self.keys(cluster["c"]).map(\.state) == ["seals", "retired", "retired", "retired"])
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }
    }
}
