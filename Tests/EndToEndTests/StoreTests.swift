internal import Foundation
internal import Testing

/// What holds a layer on a node, and what becomes of one that is damaged.
extension EndToEnd {
    @Suite struct Stores {
        private static let large = "RUN head -c 20000000 /dev/urandom > /large"
        private static let largeBytes = 20_000_000
        private static let sum = "RUN sha256sum /large > /sum"

        @Test func `damage is found beside the running node, and only what is bad comes from a peer`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b"], in: workspace, namespaces: true)
                let (a, b) = (try cluster["a"], try cluster["b"])
                let context = try workspace.context("FROM base\n\(Self.large)\n")
                try await a.mustBuild(context, base: cluster.base)
                try await b.mustBuild(
                    context, base: cluster.base, ["-o", "type=local,dest=\(workspace.path)/first"])
                let clean = try await Self.verify(b, workspace)
                #expect(clean.status == 0 && clean.output.hasSuffix("layers, 0 damaged\n"), "\(clean)")

                let file = try Self.file(of: b)
                try await workspace.check([
                    "sh", "-c", "printf DAMAGE | dd of=\(file) bs=1 seek=7000000 conv=notrunc status=none",
                ])
                let damaged = try await Self.verify(b, workspace)
                #expect(damaged.status == 1 && damaged.output.contains("/large: its content is another"), "\(damaged)")
                let refused = try await Self.verify(b, workspace, ["--repair"])
                #expect(refused.status == 1 && refused.errors.contains("stop it for --repair"), "\(refused)")

                try await b.stop()
                let repaired = try await Self.verify(b, workspace, ["--repair"])
                #expect(repaired.status == 1 && repaired.output.contains("1 damaged"), "\(repaired)")
                try await b.start()
                try await b.waitForMember("a", "alive")
                try await b.drain([a])
                let tree = workspace.path + "/tree"
                try await b.mustBuild(
                    try workspace.context("FROM base\n\(Self.large)\n\(Self.sum)\n"), base: cluster.base,
                    ["-o", "type=local,dest=\(tree)"])
                let expected = try await workspace.check(["sha256sum", workspace.path + "/first/large"]).prefix(64)
                #expect(try workspace.text(of: tree + "/sum").prefix(64) == expected)
                let counters = try await b.status().counters
                // One chunk of at most 256 KiB.
                #expect(counters.layerBytesPulled <= 262_144, "\(counters)")
                #expect(counters.layerBytesResumed >= Self.largeBytes - 262_144, "\(counters)")
                #expect(try await Self.verify(b, workspace).status == 0)
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `a holder that collects while it serves keeps what it serves`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await Self.start(["a", "b"], rate: "8MB", in: workspace)
                let (a, b) = (try cluster["a"], try cluster["b"])
                try await a.mustBuild(try workspace.context("FROM base\n\(Self.large)\n"), base: cluster.base)
                try await b.drain([a])
                let build = try b.startBuild(
                    try workspace.context("FROM base\n\(Self.large)\n\(Self.sum)\n"), base: cluster.base)
                try await Self.waitForBytes(Self.largeBytes / 4, at: b, build)
                let file = try Self.file(of: a)
                try await Self.prune(a)
                #expect(FileManager.default.fileExists(atPath: file))
                try await Self.expectOnly(Self.sum, build, b)
                // And nothing else held it: its lease over, it goes.
                try await eventually("the layer is collected", within: 45, state: { a.log }) {
                    try await Self.prune(a)
                    return !FileManager.default.fileExists(atPath: file)
                }
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `layers that a long pull has not come to yet are kept for it`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await Self.start(["a", "b"], rate: "400KB", in: workspace)
                let (a, b) = (try cluster["a"], try cluster["b"])
                let second = "RUN head -c 100000 /dev/urandom > /second"
                let steps = "FROM base\n\(Self.large)\n\(second)\n"
                try await a.mustBuild(try workspace.context(steps), base: cluster.base)
                try await b.drain([a])
                let build = try b.startBuild(try workspace.context(steps + Self.sum + "\n"), base: cluster.base)
                // A lease lasts 30 s: this takes longer, whatever the limit lets through at first.
                try await Self.waitForBytes(16_000_000, at: b, build)
                try await Self.prune(a)
                try await Self.expectOnly(Self.sum, build, b)
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        // MARK: Parts

        private static func start(
            _ names: [String], rate: String, in workspace: Workspace
        ) async throws -> TestCluster {
            let file = try workspace.write("[transfer]\nrate-limit = \"\(rate)\"\n", to: "config.toml")
            return try await TestCluster.start(names, in: workspace, namespaces: true, more: ["--config", file])
        }

        private static func verify(
            _ node: TestNode, _ workspace: Workspace, _ more: [String] = []
        ) async throws -> Command.Result {
            try await workspace.run([try TestNode.binary(), "store", "verify", "--root", node.root] + more)
        }

        /// Collects all that the node can do without.
        private static func prune(_ node: TestNode) async throws {
            let result = try await node.command(["prune", "--all"])
            guard result.status == 0 else { throw HarnessFailure("prune: \(result.errors)") }
        }

        /// The large file in the node's store.
        private static func file(of node: TestNode) throws -> String {
            let layers = node.root + "/snapshots/layers"
            for name in try FileManager.default.contentsOfDirectory(atPath: layers) {
                let file = layers + "/" + name + "/fs/large"
                if FileManager.default.fileExists(atPath: file) { return file }
            }
            throw HarnessFailure("no layer of \(node.name) has /large")
        }

        private static func waitForBytes(_ bytes: Int, at node: TestNode, _ build: Command) async throws {
            try await eventually("\(bytes) bytes have come", within: 60, state: { build.errors + node.log }) {
                guard build.isRunning else { throw HarnessFailure("the build is over: \(build.errors)") }
                return try await node.status().counters.layerBytesPulled >= bytes
            }
        }

        /// The build ends well, and only that step ran.
        private static func expectOnly(_ step: String, _ build: Command, _ node: TestNode) async throws {
            let result = try await build.end()
            #expect(result.status == 0, "\(result.errors)")
            let executed = try await node.explain().executed
            #expect(executed.count == 1 && executed.allSatisfy { $0.hasSuffix(step) }, "\(executed)")
        }
    }
}
