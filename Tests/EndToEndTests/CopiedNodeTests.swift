internal import Foundation
internal import Glibc
internal import Testing

/// Two processes with one identity, as after the copy of a root directory or of a machine: one of them is the member.
extension EndToEnd {
    @Suite struct CopiedNodes {
        /// How long a settled cluster is watched for another change of mind: several probes of each member.
        private static let watched = Duration.seconds(6)

        @Test func `a copy beside its original gives way, and the original goes on under a new boot id`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace)
                let (a, b, c) = (try cluster["a"], try cluster["b"], try cluster["c"])
                let address = try await c.peerAddress()
                let firstBoot = try Self.boot(c.root, in: workspace)
                // Streams of c that others hold: what c runs for a build of theirs.
                try await a.drain([a, b])
                try await a.mustBuild(try workspace.context("FROM base\nRUN echo 1 > /1\n"), base: cluster.base)

                let root = workspace.path + "/copied"
                try await workspace.check(["cp", "-a", c.root, root])
                let copy = try TestNode(
                    "copy", in: workspace, join: [try await a.peerAddress()], keyFile: workspace.path + "/key",
                    root: root)
                try await copy.start()
                for node in [a, b] {
                    try await eventually("\(node.name) has c back", within: 30, state: { node.log + copy.log + c.log })
                    {
                        guard node.log.contains("member=copy") else { return false }
                        return try await Self.members(of: node)["c"] == address
                    }
                }
                try await eventually("the copy says that it gives way", state: { copy.log }) {
                    copy.log.contains("keeps this node's identity")
                }
                try await Self.expectCalm([a, b], "c", at: address)
                #expect(try await c.status().gossip.bootsTaken == 1)
                #expect(try Self.boot(c.root, in: workspace) > Self.boot(root, in: workspace))
                #expect(try Self.boot(c.root, in: workspace) > firstBoot)
                // There and back, and no more.
                for node in [a, b] { #expect(Self.restarts(in: node.log) == 2, "\(node.log)") }

                let status = try await copy.status()
                #expect(status.alive == ["copy"] && status.gossip.bootsTaken == 0)
                #expect(status.gossip.warnings.contains { $0.contains("this copy takes no part") })

                // New streams go to the original.
                try await a.mustBuild(try workspace.context("FROM base\nRUN echo 2 > /2\n"), base: cluster.base)
                #expect(try await a.explain().vertex("RUN echo 2 > /2").node == "c")

                #expect(try await copy.stop() == 0)
                try await Self.expectCalm([a, b], "c", at: address)
                #expect(try await c.stop() == 0)
                try await a.waitForMember("c", "left")
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `of a node and its copy that start together one is the member, and both end when told`()
            async throws
        {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b"], in: workspace)
                let (a, b) = (try cluster["a"], try cluster["b"])
                let (seed, key) = (try await a.peerAddress(), workspace.path + "/key")
                let original = try TestNode("original", in: workspace, join: [seed], keyFile: key)
                try original.launch()
                let root = workspace.path + "/copied"
                // What makes the node's identity; the rest is still being made.
                let files = ["identity", "boot"]
                try await eventually("the node has an identity", state: { original.log }) {
                    files.allSatisfy { FileManager.default.fileExists(atPath: original.root + "/" + $0) }
                }
                try await workspace.check(["mkdir", "-m", "700", root])
                try await workspace.check(["cp", "-a"] + files.map { original.root + "/" + $0 } + [root])
                let copy = try TestNode("copy", in: workspace, join: [seed], keyFile: key, root: root)
                try await copy.start()

                let pair = [original, copy]
                let member = try await eventually(
                    "one of the two has given way", within: 40, state: { pair.map(\.log).joined() }
                ) {
                    let losers = pair.filter { Self.hasGivenWay($0) }
                    return losers.count == 1 ? pair.first { !Self.hasGivenWay($0) } : nil
                }
                let address = try await member.peerAddress()
                for node in [a, b] {
                    try await eventually("\(node.name) sees it", state: { node.log }) {
                        try await Self.members(of: node)[member.name] == address
                    }
                }
                try await Self.expectCalm([a, b], member.name, at: address)
                #expect(try await member.status().alive == ["a", "b", member.name])
                var taken = 0
                for node in pair { taken += try await node.status().gossip.bootsTaken }
                #expect(taken <= 2)
                for node in pair { #expect(try await node.stop() == 0, "\(node.log)") }
                for node in [a, b] { try await node.waitForMember(member.name, "left") }
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        private static func hasGivenWay(_ node: TestNode) -> Bool { node.log.contains("keeps this node's identity") }

        private static func boot(_ root: String, in workspace: Workspace) throws -> UInt64 {
            try #require(UInt64(try workspace.text(of: root + "/boot").trimmingCharacters(in: .newlines)))
        }

        /// Addresses of the members that a node sees alive, by name.
        private static func members(of node: TestNode) async throws -> [String: String] {
            let alive = try await node.status().members.filter { $0.state == "alive" }
            return Dictionary(alive.map { ($0.name, $0.address) }) { first, _ in first }
        }

        /// Nobody sees the member leave its address or be anything but alive for a while.
        private static func expectCalm(_ nodes: [TestNode], _ name: String, at address: String) async throws {
            let before = nodes.map { restarts(in: $0.log) }
            let end = ContinuousClock.now + watched
            while ContinuousClock.now < end {
                for node in nodes { #expect(try await members(of: node)[name] == address, "\(node.log)") }
            }
            #expect(nodes.map { restarts(in: $0.log) } == before)
        }

        private static func restarts(in log: String) -> Int {
            log.split(separator: "\n").count { $0.hasSuffix("member restarted") }
        }
    }
}
