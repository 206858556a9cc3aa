internal import Foundation
internal import Testing

/// P2 and P7 of the design: one execution in the cluster, the same bytes as on one node.
extension EndToEnd {
    @Suite struct Once {
        private static let branches = """
            FROM base AS left
            RUN sleep 1; echo left > /left
            FROM base AS right
            RUN sleep 1; echo right > /right
            FROM base
            COPY --from=left /left /left
            COPY --from=right /right /right
            RUN cat /left /right > /both && chmod 0640 /both && ln /both /second && ln -s both /link
            WORKDIR /home/user
            ENTRYPOINT ["cat", "/both"]
            """
        /// Three RUN, two COPY, WORKDIR.
        private static let steps = 6

        @Test func `two clients at two nodes at once run each step once`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace, namespaces: true)
                let context = try workspace.context(Self.branches)
                let first = try cluster["a"].startBuild(context, base: cluster.base)
                let second = try cluster["b"].startBuild(context, base: cluster.base)
                for build in [first, second] {
                    let result = try await build.end()
                    #expect(result.status == 0, "\(result.errors)")
                }
                #expect(try await cluster.executions() == Self.steps)
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        @Test func `branches run on several nodes and give the bytes of a single node`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a", "b", "c"], in: workspace, namespaces: true, slots: 1)
                let context = try workspace.context(Self.branches)
                let image = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-o"]
                let ours = workspace.path + "/distributed.tar"
                try await cluster["a"].mustBuild(context, base: cluster.base, image + ["type=oci,dest=\(ours)"])
                let explanation = try await cluster["a"].explain()
                let nodes = Set((explanation.vertices ?? []).filter { $0.outcome == "executed" }.compactMap(\.node))
                #expect(nodes.count >= 2, "all ran on \(nodes): \(explanation)")
                let tree = workspace.path + "/distributed"
                try await cluster["b"].mustBuild(context, base: cluster.base, ["-o", "type=local,dest=\(tree)"])
                for node in cluster.nodes { try await node.stop() }

                let alone = try TestNode("alone", in: workspace, keyFile: nil)
                try await alone.start()
                let theirs = workspace.path + "/alone.tar"
                try await alone.mustBuild(context, base: cluster.base, image + ["type=oci,dest=\(theirs)"])
                let aloneTree = workspace.path + "/alone-tree"
                try await alone.mustBuild(context, base: cluster.base, ["-o", "type=local,dest=\(aloneTree)"])
                try await alone.stop()

                // Times of files differ between two runs of a step; what a program sees otherwise may not.
                let listing =
                    "find . -type f -exec sha256sum {} + | sort; find . -printf '%p %y %m %U %G %n %l\\n' | sort"
                let distributed = try await workspace.check(["sh", "-c", "cd \(tree) && \(listing)"])
                let single = try await workspace.check(["sh", "-c", "cd \(aloneTree) && \(listing)"])
                #expect(distributed == single)
                #expect(distributed.contains("./second f 640 0 0 2"))
                let configurations = try await [ours, theirs].asyncMap { file in
                    try await workspace.check(["skopeo", "inspect", "--config", "--raw", "oci-archive:" + file])
                }
                #expect(try Configuration(configurations[0]) == Configuration(configurations[1]))
            }
        }

        /// What an image's configuration says apart from the digests of layers, which carry times of files.
        private struct Configuration: Decodable, Equatable {
            struct Run: Decodable, Equatable {
                var Env: [String]?
                var Entrypoint: [String]?
                var WorkingDir: String?
            }
            struct Event: Decodable, Equatable {
                var created_by: String?
                var empty_layer: Bool?
            }
            var architecture: String
            var os: String
            var created: String?
            var config: Run
            var history: [Event]

            init(_ text: String) throws {
                self = try JSONDecoder().decode(Self.self, from: Data(text.utf8))
            }
        }
    }
}

extension Sequence {
    fileprivate func asyncMap<T>(_ transform: (Element) async throws -> T) async throws -> [T] {
        var result: [T] = []
        for element in self { result.append(try await transform(element)) }
        return result
    }
}
