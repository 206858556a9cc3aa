internal import ClusterModel
internal import Foundation
internal import Glibc
internal import Testing

/// Nodes that are killed while a layer moves; the rate limit keeps it moving for seconds.
extension EndToEnd {
    @Suite struct TransferKills {
        /// Rounds of each test, a seed each.
        private static let rounds =
            1...(ProcessInfo.processInfo.environment["PEERBUILD_E2E_ROUNDS"].flatMap(UInt64.init) ?? 3)
        /// Of random bytes: they do not compress.
        private static let layerBytes = 48_000_000
        private static let rateLimit = "16MB"

        private static let large = "RUN head -c \(layerBytes) /dev/urandom > /large"
        private static let sum = "RUN sha256sum /large > /sum"
        /// Another step with the same result, which no node has.
        private static let sumAgain = "RUN cat /large | sha256sum > /sum"

        @Test(arguments: rounds)
        func `a puller that is killed goes on where it was, and the build elsewhere`(seed: UInt64) async throws {
            try await withWorkspace { workspace in
                let cluster = try await Self.start(["holder", "home", "puller"], in: workspace)
                let (home, puller) = (try cluster["home"], try cluster["puller"])
                try await Self.make(at: ["holder"], cluster, workspace)
                // The home takes no steps while another node does.
                try await home.drain([cluster["holder"], home])

                let tree = workspace.path + "/tree"
                let build = try Self.startBuild(at: home, cluster, workspace, tree)
                try await Self.waitForBytes(at: puller, seed: seed, build)
                try await puller.crash()
                let result = try await build.end()
                #expect(result.status == 0, "\(result.errors)")
                try await Self.expectSum(tree, workspace)
                let step = try await home.explain().vertex(Self.sum)
                #expect(step.node == "home" && step.attempts == 2, "\(step)")

                try await puller.start()
                try await puller.waitForMember("home", "alive")
                // The puller has to read the layer itself, or one of the others would export what it holds.
                try await puller.drain([cluster["holder"], home])
                let again = workspace.path + "/again"
                let second = try await Self.startBuild(at: puller, cluster, workspace, again, Self.sumAgain).end()
                #expect(second.status == 0, "\(second.errors)")
                try await Self.expectSum(again, workspace)
                let counters = try await puller.status().counters
                #expect(counters.layerBytesResumed > 0)
                #expect(counters.layerBytesPulled + counters.layerBytesResumed >= Self.layerBytes)
                #expect(counters.layerBytesPulled < Self.layerBytes)
                // The build's own figures say the same, and the link carried what was pulled.
                let explanation = try await puller.explain()
                #expect(explanation.resumed == counters.layerBytesResumed)
                #expect(explanation.pulledBytes == counters.layerBytesPulled)
                let received = try await puller.status().links.reduce(0) { $0 + $1.bytesIn }
                #expect(received >= counters.layerBytesPulled)
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test(arguments: rounds)
        func `one of two holders that is killed costs nothing but its share`(seed: UInt64) async throws {
            try await withWorkspace { workspace in
                let cluster = try await Self.start(["one", "two", "home"], in: workspace)
                let home = try cluster["home"]
                try await Self.make(at: ["one", "two"], cluster, workspace)
                try await home.drain([cluster["one"], cluster["two"]])

                let tree = workspace.path + "/tree"
                let victim = try cluster[seed % 2 == 0 ? "one" : "two"]
                let before = try await Self.served(by: ["one", "two"], cluster)
                let build = try Self.startBuild(at: home, cluster, workspace, tree)
                try await Self.waitForBytes(at: home, seed: seed, build)
                // Both work for the same pull.
                let served = try await Self.served(by: ["one", "two"], cluster)
                #expect(served[0] > before[0] && served[1] > before[1], "\(before), \(served)")
                try await victim.crash()
                let result = try await build.end()
                #expect(result.status == 0, "\(result.errors)")
                try await Self.expectSum(tree, workspace)
                let explanation = try await home.explain()
                #expect(explanation.executed.allSatisfy { $0.hasSuffix(Self.sum) }, "\(explanation.executed)")
                #expect(try explanation.vertex(Self.sum).attempts == 1)
                #expect(Set(explanation.served.keys) == ["one", "two"], "\(explanation)")
                #expect(explanation.served.values.reduce(0, +) == explanation.pulledBytes, "\(explanation)")
                try await victim.start()
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test(arguments: rounds)
        func `with the only holder killed the step runs again elsewhere`(seed: UInt64) async throws {
            try await withWorkspace { workspace in
                let cluster = try await Self.start(["holder", "home"], in: workspace)
                let (holder, home) = (try cluster["holder"], try cluster["home"])
                try await Self.make(at: ["holder"], cluster, workspace)
                try await home.drain([holder])

                let tree = workspace.path + "/tree"
                let build = try Self.startBuild(at: home, cluster, workspace, tree)
                try await Self.waitForBytes(at: home, seed: seed, build)
                try await holder.crash()
                let result = try await build.end()
                #expect(result.status == 0, "\(result.errors)")
                try await Self.expectSum(tree, workspace)
                let explanation = try await home.explain()
                for name in [Self.large, Self.sum] {
                    let step = try explanation.vertex(name)
                    #expect(step.node == "home" && step.outcome == "executed", "\(step)")
                }
                try await holder.start()
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        // MARK: Parts

        private static func start(_ names: [String], in workspace: Workspace) async throws -> TestCluster {
            let file = try workspace.write("[transfer]\nrate-limit = \"\(rateLimit)\"\n", to: "config.toml")
            return try await TestCluster.start(names, in: workspace, namespaces: true, more: ["--config", file])
        }

        /// Lets the first node make the large layer, and the others fetch it.
        private static func make(at names: [String], _ cluster: TestCluster, _ workspace: Workspace) async throws {
            let context = try workspace.context("FROM base\n\(large)\n")
            for name in names {
                let copy = workspace.path + "/copy-\(name)"
                try await cluster[name].mustBuild(context, base: cluster.base, ["-o", "type=local,dest=\(copy)"])
            }
            // Each has heard of all that a holder has, the large layer's key included: it is the last that came to be.
            for node in cluster.nodes {
                try await eventually("\(node.name) has heard of the layer", state: { node.log }) {
                    let status = try await node.status()
                    guard status.gossip.cacheMap.digestsBehind == 0 else { return false }
                    for name in names {
                        let own = try await cluster[name].status().members.first { $0.name == name }?.cacheKeys ?? 0
                        let heard = status.members.first { $0.name == name }?.cacheKeys ?? 0
                        if own < 2 || heard < own { return false }
                    }
                    return true
                }
            }
        }

        private static func startBuild(
            at node: TestNode, _ cluster: TestCluster, _ workspace: Workspace, _ tree: String, _ sum: String = sum
        ) throws -> Command {
            let context = try workspace.context("FROM base\n\(large)\n\(sum)\n")
            return try node.startBuild(context, base: cluster.base, ["-o", "type=local,dest=\(tree)"])
        }

        /// Waits until a share of the layer between a twentieth and three quarters has come.
        private static func waitForBytes(at node: TestNode, seed: UInt64, _ build: Command) async throws {
            var random = SplitMix64(seed: seed)
            let start = try await node.status().counters.layerBytesPulled
            let wanted = Int.random(in: layerBytes / 20...layerBytes * 3 / 4, using: &random)
            try await eventually("\(wanted) bytes have come", within: 60, state: { build.errors + node.log }) {
                guard build.isRunning else { throw HarnessFailure("the build is over: \(build.errors)") }
                return try await node.status().counters.layerBytesPulled - start >= wanted
            }
        }

        private static func served(by names: [String], _ cluster: TestCluster) async throws -> [Int] {
            var bytes: [Int] = []
            for name in names { bytes.append(try await cluster[name].status().counters.layerBytesServed) }
            return bytes
        }

        private static func expectSum(_ tree: String, _ workspace: Workspace) async throws {
            let sum = try await workspace.check(["sha256sum", tree + "/large"]).prefix(64)
            #expect(try workspace.text(of: tree + "/sum").prefix(64) == sum)
        }
    }
}
