internal import Foundation
internal import Testing

/// What does not have to cross the cluster, does not; what will be wanted, crosses early.
extension EndToEnd {
    @Suite struct PartialPulls {
        private static let side = """
            FROM base AS side
            RUN mkdir /large /out && head -c 20000000 /dev/urandom > /large/file && ln -s /out /way \\
                && head -c 1000000 /dev/urandom > /out/file && sha256sum /out/file > /out/sum
            """
        private static let largeBytes = 20_000_000
        /// The base image and what is small.
        private static let smallBytesMax = 5_000_000

        @Test func `a copy of one directory out of a stage pulls that directory`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["holder", "home"], in: workspace, namespaces: true)
                let (holder, home) = (try cluster["holder"], try cluster["home"])
                try await holder.mustBuild(try workspace.context(Self.side), base: cluster.base)
                try await home.drain([holder])

                let tree = workspace.path + "/tree"
                let copy = "COPY --from=side /way/ /copy/"
                let context = try workspace.context(
                    "\(Self.side)\nFROM base\n\(copy)\nRUN mkdir /out && cp /copy/file /out/ && sha256sum -c /copy/sum\n"
                )
                try await home.mustBuild(
                    context, base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                try await Self.expectCopy(tree, workspace)
                let explanation = try await home.explain()
                #expect(explanation.pulledBytes < Self.smallBytesMax, "\(explanation)")
                #expect(explanation.leftOut == Self.largeBytes, "\(explanation)")
                #expect(try await home.status().counters.layerBytesLeftOut == Self.largeBytes)
                // What the build pulled, the holder served, as both say, and the build says who.
                #expect(explanation.served == ["holder": explanation.pulledBytes], "\(explanation)")
                #expect(try explanation.vertex(copy).served(by: "holder") > 1_000_000, "\(explanation)")
                #expect(try await holder.status().counters.layerBytesServed == explanation.pulledBytes)

                // The part is not the stage: with the holder gone the stage's step runs again.
                try await holder.crash()
                try await home.waitForMember("holder", "dead")
                let whole = try workspace.context("\(Self.side)\nRUN ls -l /large/file\n")
                try await home.mustBuild(whole, base: cluster.base)
                #expect(try await home.explain().executed.contains { $0.contains("mkdir /large") })
                try await holder.start()
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `patterns and wildcards pull what they select`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["holder", "home"], in: workspace, namespaces: true)
                let (holder, home) = (try cluster["holder"], try cluster["home"])
                let side = """
                    FROM base AS side
                    RUN mkdir -p /tree/deep /tree/gone && echo a > /tree/deep/a.txt && echo b > /tree/b.txt \\
                        && echo gone > /tree/c.txt && head -c \(Self.largeBytes) /dev/urandom > /tree/deep/large.bin
                    RUN rm -r /tree/c.txt /tree/gone && ln /tree/b.txt /tree/d.txt
                    """
                try await holder.mustBuild(try workspace.context(side), base: cluster.base)
                try await home.drain([holder])
                let copies = [
                    "COPY --from=side --exclude=**/*.bin /tree/ /excluded/", "COPY --from=side /tree/*.txt /wildcard/",
                    "COPY --from=side --parents /tree/deep/*.txt /parents/",
                ]
                // Each in a stage of its own: one that pulled all of the tree would leave it to the others.
                let stages = copies.enumerated().map { "FROM base AS s\($0)\n\($1)\n" }.joined()
                let all = ["excluded", "wildcard", "parents"].enumerated().map { "COPY --from=s\($0) /\($1) /\($1)" }
                let context = try workspace.context("\(side)\n\(stages)FROM scratch\n\(all.joined(separator: "\n"))\n")
                let tree = workspace.path + "/tree"
                try await home.mustBuild(context, base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                let files = try await workspace.check(["sh", "-c", "cd \(tree); find . -type f | sort | xargs"])
                #expect(
                    files == "./excluded/b.txt ./excluded/d.txt ./excluded/deep/a.txt ./parents/tree/deep/a.txt "
                        + "./wildcard/b.txt ./wildcard/d.txt\n")
                #expect(try workspace.text(of: tree + "/parents/tree/deep/a.txt") == "a\n")
                let explanation = try await home.explain()
                #expect(explanation.pulledBytes < Self.smallBytesMax, "\(explanation)")
                for copy in copies {
                    let vertex = try explanation.vertex(copy)
                    #expect(vertex.bytesLeftOut.flatMap(Int.init) ?? 0 >= Self.largeBytes, "\(vertex)")
                }
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `of a context another node gets what its step copies`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["home", "executor"], in: workspace, namespaces: true)
                let (home, executor) = (try cluster["home"], try cluster["executor"])
                try await home.drain([home])
                let (large, small) = ("COPY large /large", "COPY small /small")
                let context = try workspace.context(
                    """
                    FROM base AS one
                    RUN sleep 3
                    \(large)
                    RUN sha256sum /large/file > /sum
                    FROM base
                    \(small)
                    COPY --from=one /sum /sum
                    """, ["small/file": "text\n"])
                try await workspace.check(
                    [
                        "sh", "-c",
                        "mkdir \(context)/large; head -c \(Self.largeBytes) /dev/urandom > \(context)/large/file",
                    ])
                let tree = workspace.path + "/tree"
                try await home.mustBuild(context, base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                #expect(try workspace.text(of: tree + "/small/file") == "text\n")
                let sum = try await workspace.check(["sha256sum", context + "/large/file"]).prefix(64)
                #expect(try workspace.text(of: tree + "/sum").prefix(64) == sum)
                let explanation = try await home.explain()
                for name in [large, small] { #expect(try explanation.vertex(name).node == "executor") }
                let vertex = try explanation.vertex(small)
                #expect(vertex.bytesPulled.flatMap(Int.init) ?? 0 < Self.smallBytesMax, "\(vertex)")
                #expect(vertex.bytesLeftOut.flatMap(Int.init) == Self.largeBytes, "\(vertex)")
                // The directory came once, with the step that copies it.
                let pulled = try await executor.status().counters.layerBytesPulled
                #expect((Self.largeBytes..<Self.largeBytes + Self.smallBytesMax).contains(pulled), "\(pulled)")
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `what a later step reads comes while the one before it runs`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(
                    ["holder", "home", "executor"], in: workspace, namespaces: true)
                let (holder, home, executor) = (try cluster["holder"], try cluster["home"], try cluster["executor"])
                try await holder.mustBuild(try workspace.context(Self.side), base: cluster.base)
                try await home.drain([holder, home])

                // It ends when the test has seen the bytes come.
                let copy = "COPY --from=side /large /copy"
                let gate = "RUN --mount=type=cache,target=/gate while [ ! -e /gate/go ]; do sleep 0.1; done"
                let context = try workspace.context("\(Self.side)\nFROM base\n\(gate)\n\(copy)\n")
                let tree = workspace.path + "/tree"
                let build = try home.startBuild(context, base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                try await eventually("the layer has come early", within: 60, state: { build.errors + home.log }) {
                    guard build.isRunning else { throw HarnessFailure("the build is over: \(build.errors)") }
                    return try await executor.status().counters.layerBytesPrefetched >= Self.largeBytes
                }
                // Its volume may be there later than the bytes.
                try await eventually("the step ends", within: 60, state: { build.errors }) {
                    try Self.open(executor)
                    return !build.isRunning
                }
                let result = try await build.end()
                #expect(result.status == 0, "\(result.errors)")
                #expect(FileManager.default.fileExists(atPath: tree + "/copy/file"))
                let vertex = try await home.explain().vertex(copy)
                // All of it came early, from the holder, and counts with the step that read it.
                let bytes = vertex.bytesPulled.flatMap(Int.init) ?? 0
                #expect(vertex.node == "executor" && bytes >= Self.largeBytes, "\(vertex)")
                #expect(vertex.bytesPrefetched == vertex.bytesPulled, "\(vertex)")
                #expect(vertex.served(by: "holder") == bytes, "\(vertex)")
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        // MARK: Parts

        /// Puts the file that the waiting step looks for into every cache volume of the node.
        private static func open(_ node: TestNode) throws {
            let volumes = node.root + "/cache-mounts"
            for case let path as String in FileManager.default.enumerator(atPath: volumes) ?? .init() {
                var isDirectory: ObjCBool = false
                let full = volumes + "/" + path
                guard FileManager.default.fileExists(atPath: full, isDirectory: &isDirectory), isDirectory.boolValue
                else { continue }
                _ = FileManager.default.createFile(atPath: full + "/go", contents: nil)
            }
        }

        private static func expectCopy(_ tree: String, _ workspace: Workspace) async throws {
            let sum = try await workspace.check(["sha256sum", tree + "/copy/file"]).prefix(64)
            #expect(try workspace.text(of: tree + "/copy/sum").prefix(64) == sum)
            #expect(!FileManager.default.fileExists(atPath: tree + "/large"))
        }
    }
}
