internal import Foundation
internal import Testing

/// The network between nodes fails and comes back.
extension EndToEnd {
    @Suite struct Partition {
        /// Long enough for each half to bury the other: a verdict takes four periods of a second.
        private static let cutSeconds = 20

        @Test func `both halves of a cut cluster build, and after the heal each has what the other built`() async throws
        {
            try await withWorkspace { workspace in
                let names = ["a", "b", "c", "d", "e"]
                let cluster = try await TestCluster.start(names, in: workspace, namespaces: true)
                let network = try #require(cluster.network)
                let (left, right) = (["a", "b"], ["c", "d", "e"])
                try await network.cut(left, from: right)
                let end = ContinuousClock.now + .seconds(Self.cutSeconds)
                var rounds = 0
                while ContinuousClock.now < end {
                    let builds = try ["a", "c"].map { name in
                        let context = try workspace.context("FROM base\nRUN echo \(rounds) > /\(name)\n")
                        return try cluster[name].startBuild(context, base: cluster.base)
                    }
                    for build in builds {
                        let result = try await build.end()
                        #expect(result.status == 0, "\(result.errors)")
                    }
                    rounds += 1
                }
                for (node, lost) in [("b", right), ("d", left)] {
                    for name in lost { try await cluster[node].waitForMember(name, "dead") }
                }

                try await network.heal()
                for node in cluster.nodes {
                    try await eventually("\(node.name) has all back", state: { node.log }) {
                        try await node.status().alive == Set(names)
                    }
                }
                let both = """
                    FROM base AS left
                    RUN echo 0 > /a
                    FROM base AS right
                    RUN echo 0 > /c
                    FROM base
                    COPY --from=left /a /
                    COPY --from=right /c /
                    """
                for name in ["b", "e"] {
                    let node = try cluster[name]
                    try await node.mustBuild(try workspace.context(both), base: cluster.base)
                    let executed = try await node.explain().executed
                    #expect(!executed.contains { $0.contains("RUN") }, "\(name): \(executed)")
                }
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }
    }
}
