internal import Foundation
internal import Glibc
internal import Testing

/// P5 of the design: nodes may die.
extension EndToEnd {
    @Suite struct NodeLoss {
        private static let dockerfile = """
            FROM base AS left
            RUN sleep 4; echo left > /left
            FROM base AS right
            RUN sleep 4; echo right > /right
            FROM base
            COPY --from=left /left /left
            COPY --from=right /right /right
            RUN cat /left /right > /both
            """

        @Test(arguments: [SIGKILL, SIGSTOP])
        func `the step of an executor that dies or hangs runs again elsewhere, and nothing else does`(
            signal: Int32
        ) async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace, namespaces: true, slots: 1)
                let context = try workspace.context(Self.dockerfile)
                let home = try cluster["a"]
                let tree = workspace.path + "/tree"
                let build = try home.startBuild(context, base: cluster.base, ["-o", "type=local,dest=\(tree)"])

                // A step of the build that runs on another node than its home.
                let (name, executor): (String, TestNode) = try await eventually(
                    "a step runs on another node", state: { build.errors + home.log }
                ) {
                    guard build.isRunning else { throw HarnessFailure("the build is over: \(build.errors)") }
                    guard let reference = try await home.status().builds.first?.ref else { return nil }
                    let vertices = try await home.explain(reference).vertices ?? []
                    guard
                        let vertex = vertices.first(where: { vertex in
                            (vertex.name ?? "").contains("RUN sleep") && ["b", "c"].contains(vertex.node)
                        }), let node = vertex.node, let name = vertex.name
                    else { return nil }
                    // Placed is not started: the step has to run there.
                    let executor = try cluster[node]
                    return try Self.hasStep(of: executor) ? (name, executor) : nil
                }
                executor.send(signal)

                let result = try await build.end()
                #expect(result.status == 0, "\(result.errors)")
                #expect(try workspace.text(of: tree + "/both") == "left\nright\n")
                let explanation = try await home.explain()
                for vertex in explanation.vertices ?? [] where vertex.outcome == "executed" {
                    #expect((vertex.attempts ?? 0) == (vertex.name == name ? 2 : 1), "\(vertex)")
                    #expect(vertex.node != executor.name, "\(vertex)")
                }
                if signal == SIGSTOP {
                    executor.send(SIGCONT)
                    try await home.waitForMember(executor.name, "alive", within: 60)
                } else {
                    // A crash leaves what the next start removes.
                    try await executor.start()
                }
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `a build whose client is interrupted ends its steps on all nodes`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace, slots: 1)
                let context = try workspace.context(
                    Self.dockerfile.replacingOccurrences(of: "sleep 4", with: "sleep 300"))
                let build = try cluster["a"].startBuild(context, base: cluster.base)
                try await eventually("steps run on two nodes", state: { build.errors }) {
                    try cluster.nodes.filter { try Self.hasStep(of: $0) }.count >= 2
                }
                build.send(SIGINT)
                let result = try await build.end(within: 60)
                #expect(result.status == 130, "\(result.errors)")
                try await eventually("no step runs") { try cluster.nodes.allSatisfy { try !Self.hasStep(of: $0) } }
                try await eventually("no build runs") { try await cluster["a"].status().builds.isEmpty }
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `with a holder only what nobody else holds is lost`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace)
                let (a, b, c) = (try cluster["a"], try cluster["b"], try cluster["c"])
                let (one, two) = ("RUN echo one > /one", "RUN echo two > /two")
                try await a.mustBuild(try workspace.context("FROM base\n\(one)\n"), base: cluster.base)
                try await b.mustBuild(try workspace.context("FROM base\n\(two)\n"), base: cluster.base)
                #expect(try await a.status().counters.verticesExecuted == 1)
                #expect(try await b.status().counters.verticesExecuted == 1)
                try await a.crash()
                try await c.waitForMember("a", "dead")

                let both = """
                    FROM base AS left
                    \(one)
                    FROM base AS right
                    \(two)
                    FROM base
                    COPY --from=left /one /
                    COPY --from=right /two /
                    """
                let tree = workspace.path + "/tree"
                try await c.mustBuild(
                    try workspace.context(both), base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                #expect(try workspace.text(of: tree + "/one") + workspace.text(of: tree + "/two") == "one\ntwo\n")
                let executed = try await c.explain().executed.filter { $0.contains("RUN") }
                #expect(executed.count == 1 && executed.allSatisfy { $0.hasSuffix(one) }, "\(executed)")
            }
        }

        @Test func `a step that fails by itself is not tried elsewhere`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace, slots: 1)
                let text = Self.dockerfile.replacingOccurrences(of: "sleep 4;", with: "sleep 1; test -e /absent &&")
                let result = try await cluster["a"].build(try workspace.context(text), base: cluster.base)
                #expect(result.status == 1)
                #expect(result.errors.split(separator: "\n").count { $0.hasPrefix("ERROR: failed to solve") } == 1)
                let explanation = try await cluster["a"].explain()
                #expect((explanation.vertices ?? []).allSatisfy { ($0.attempts ?? 0) <= 1 }, "\(explanation)")
                #expect(try await cluster.executions() == 0)
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        /// Whether a step runs on the node: its runtime is a child of the node's process.
        private static func hasStep(of node: TestNode) throws -> Bool {
            guard let pid = node.process?.pid else { return false }
            let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")
            return tasks.contains { task in
                let children = try? String(contentsOfFile: "/proc/\(pid)/task/\(task)/children", encoding: .utf8)
                return !(children ?? "").isEmpty
            }
        }
    }
}
