internal import Foundation
internal import Glibc
internal import Testing

/// Who is a member, as the nodes' `status` says it.
extension EndToEnd {
    @Suite struct Members {
        @Test func `a killed node is seen dead, rejoins without the seed, and leaves when told to stop`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["seed", "b", "c"], in: workspace)
                let (seed, b, c) = (try cluster["seed"], try cluster["b"], try cluster["c"])
                let port = try await c.peerAddress()

                try await c.crash()
                for node in [seed, b] { try await node.waitForMember("c", "dead") }

                // With the seed gone too, the node has only its own snapshot to find the others with.
                try await seed.crash()
                let again = try TestNode(
                    "c", in: workspace, bind: port, keyFile: workspace.path + "/key", root: c.root)
                try await again.start()
                try await again.waitForMember("b", "alive")
                try await b.waitForMember("c", "alive")

                #expect(try await again.stop() == 0)
                try await b.waitForMember("c", "left")
            }
        }

        @Test func `a node that is stopped for three seconds is not lost`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace)
                let (a, b) = (try cluster["a"], try cluster["b"])
                b.send(SIGSTOP)
                let end = ContinuousClock.now + .seconds(3)
                var states: Set<String> = []
                while ContinuousClock.now < end {
                    states.insert(try await a.status().state(of: "b") ?? "gone")
                }
                b.send(SIGCONT)
                try await a.waitForMember("b", "alive")
                states.insert(try await a.status().state(of: "b") ?? "gone")
                #expect(states.isSubset(of: ["alive", "suspect"]))
                #expect(!a.log.contains("member died"))
                // And it still takes part: it knows the others itself.
                #expect(try await b.status().alive == ["a", "b", "c"])
            }
        }

        @Test func `a node with another key is never a member and is logged once`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b"], in: workspace)
                let a = try cluster["a"]
                let key = try await TestCluster.writeKey(in: workspace, as: "other-key")
                let stranger = try TestNode(
                    "stranger", in: workspace, join: [try await a.peerAddress()], keyFile: key)
                try await stranger.start()
                let address = try await stranger.peerAddress()
                try await eventually("the stranger notices", state: { stranger.log }) {
                    stranger.log.contains("does not answer")
                }
                // It goes on trying; whoever sends a first message with a wrong key is told apart by its host.
                try await eventually("a says that somebody has another key", state: { a.log }) {
                    !Self.strangerLines(a.log).isEmpty
                }
                let names = try await a.status().members.map(\.name)
                #expect(Set(names) == ["a", "b"])
                #expect(try await stranger.status().alive == ["stranger"])
                try await stranger.stop()
                #expect(Self.strangerLines(a.log).count == 1, "\(address): \(a.log)")
            }
        }

        private static func strangerLines(_ log: String) -> [Substring] {
            log.split(separator: "\n").filter { $0.contains("key") && $0.contains("127.0.0.1") }
        }

        @Test func `a node whose seed is down says so, serves, and joins when the seed comes`() async throws {
            try await withWorkspace { workspace in
                let base = try await BaseImage.make(in: workspace)
                let key = try await TestCluster.writeKey(in: workspace)
                // A port that was just free: the seed's, once it has told it.
                let seed = try TestNode("seed", in: workspace, keyFile: key)
                try await seed.start()
                let address = try await seed.peerAddress()
                try await seed.stop()

                let node = try TestNode("node", in: workspace, join: [address], keyFile: key)
                try await node.start()
                try await eventually("the node says that its seed is down", state: { node.log }) {
                    node.log.contains("seed \(address) does not answer")
                }
                try await node.mustBuild(try workspace.context("FROM base\nRUN true\n"), base: base)

                let late = try TestNode("seed", in: workspace, bind: address, keyFile: key)
                try await late.start()
                try await node.waitForMember("seed", "alive", within: 40)
                try await late.waitForMember("node", "alive")
            }
        }
    }
}
