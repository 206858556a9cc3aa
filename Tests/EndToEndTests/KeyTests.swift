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
    }
}
