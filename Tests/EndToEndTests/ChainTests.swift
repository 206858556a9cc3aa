internal import Foundation
internal import Testing

/// P1 and P3 of the design: where layers go, counted by the kernel.
extension EndToEnd {
    @Suite struct Chains {
        static let dockerfile = """
            FROM base
            COPY greeting /greeting
            RUN head -c 3000000 /dev/urandom > /big
            RUN wc -c < /big > /size
            RUN cat /greeting /size > /both
            CMD ["cat", "/both"]
            """
        /// Steps of the chain that a node executes; the base is loaded.
        static let steps = 4
        /// Gossip's exchanges, confirmations and claims of a build take less.
        static let controlBytesMax = 64 * 1_024

        @Test func `a linear build moves no layers, and a second node takes it over without running anything`()
            async throws
        {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace, namespaces: true)
                let network = try #require(cluster.network)
                let context = try workspace.context(Self.dockerfile, ["greeting": "hello\n"])
                let before = try await network.tcpBytes()

                try await cluster["a"].mustBuild(context, base: cluster.base)
                let explanation = try await cluster["a"].explain()
                #expect(explanation.executed.count == Self.steps)
                #expect(Set((explanation.vertices ?? []).filter { $0.outcome == "executed" }.map(\.node)) == ["a"])
                #expect(try await cluster.executions() == Self.steps)
                #expect(try await cluster.layerBytesPulled() == 0)
                let moved = try await network.tcpBytes() - before
                #expect(moved < Self.controlBytesMax)

                // Without an output nothing has to come to the second node.
                try await cluster["b"].mustBuild(context, base: cluster.base)
                #expect(try await cluster["b"].explain().executed == [])
                #expect(try await cluster.executions() == Self.steps)
                #expect(try await cluster.layerBytesPulled() == 0)
                #expect(try await network.tcpBytes() - before < 2 * Self.controlBytesMax)

                // An export needs the layers once, and nothing else.
                let image = workspace.path + "/image.tar"
                try await cluster["c"].mustBuild(context, base: cluster.base, ["-o", "type=oci,dest=\(image)"])
                #expect(try await cluster["c"].explain().executed == [])
                #expect(try await cluster.executions() == Self.steps)
                let pulled = try await cluster.layerBytesPulled()
                #expect((3_000_000..<3_500_000).contains(pulled), "pulled \(pulled) bytes for layers of 3,000,000")
                // The counter that saw none of it before is one that sees layers.
                #expect(try await network.tcpBytes() - before > 3_000_000)

                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }
    }
}
