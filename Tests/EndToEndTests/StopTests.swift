internal import Foundation
internal import Glibc
internal import Testing

/// Nodes that are told to stop: whoever waits for an answer gets one.
extension EndToEnd {
    @Suite struct Stops {
        @Test func `leave succeeds and ends the node, each time`() async throws {
            try await withWorkspace { workspace in
                let names = ["b", "c", "d", "e"]
                let cluster = try await TestCluster.start(["a"] + names, in: workspace)
                let a = try cluster["a"]
                for name in names {
                    let node = try cluster[name]
                    let result = try await node.command(["leave"])
                    #expect(result.status == 0, "\(result.errors)\(node.log)")
                    #expect(try await node.process?.end(within: 60).status == 0, "\(node.log)")
                    try await a.waitForMember(name, "left")
                }
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `a build under way hears that its node stops`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a"], in: workspace)
                let node = try cluster["a"]
                let build = try node.startBuild(
                    try workspace.context("FROM base\nRUN sleep 300\n"), base: cluster.base)
                try await eventually("the step runs", state: { build.errors + node.log }) {
                    build.errors.contains("RUN sleep 300")
                }
                #expect(try await node.stop() == 0, "\(node.log)")
                let result = try await build.end(within: 60)
                #expect(result.status == 1)
                #expect(result.errors.contains("the node a stops"), "\(result.errors)")
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }
    }
}
