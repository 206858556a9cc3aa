internal import Foundation
internal import Testing

/// What of a client's directory crosses to the home node.
extension EndToEnd {
    @Suite struct Contexts {
        private static let largeBytes = 2_000_000
        private static let addedBytes = 30_000

        @Test func `after a COPY and an ignored path more only what was not there yet is uploaded`() async throws {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(["a"], in: workspace)
                let a = try cluster["a"]
                let steps = "FROM base\nCOPY large /large\nCOPY sub /sub\n"
                let context = try workspace.context(steps, ["sub/kept": "kept", "sub/ignored": "ignored"])
                for (name, bytes) in [("large", Self.largeBytes), ("added", Self.addedBytes)] {
                    try await workspace.check(["sh", "-c", "head -c \(bytes) /dev/urandom > \(context)/\(name)"])
                }
                let first = try await Self.build(context, at: a, cluster.base, workspace, to: "first")
                #expect(try Self.uploaded(first) == Self.largeBytes + "kept".utf8.count + "ignored".utf8.count)

                try Data((steps + "COPY added /added\n").utf8).write(to: URL(fileURLWithPath: context + "/Dockerfile"))
                try Data("sub/ignored\n".utf8).write(to: URL(fileURLWithPath: context + "/.dockerignore"))
                let second = try await Self.build(context, at: a, cluster.base, workspace, to: "second")
                #expect(try Self.uploaded(second) == Self.addedBytes)
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])

                // A node that has never seen the client.
                let alone = try TestNode("alone", in: workspace, keyFile: nil)
                try await alone.start()
                let fresh = try await Self.build(context, at: alone, cluster.base, workspace, to: "fresh")
                try await alone.stop()
                #expect(try Self.uploaded(fresh) == Self.largeBytes + Self.addedBytes + "kept".utf8.count)
                let listing = try await Self.listing(of: "second", workspace)
                #expect(try await Self.listing(of: "fresh", workspace) == listing)
                #expect(listing.contains("./sub/kept") && !listing.contains("ignored"))
            }
        }

        /// A build that has to succeed, exported to a directory of the workspace; its progress is told in JSON.
        private static func build(
            _ context: String, at node: TestNode, _ base: BaseImage, _ workspace: Workspace, to directory: String
        ) async throws -> Command.Result {
            let result = try await workspace.run(
                [
                    try TestNode.binary(), "build", "--addr", node.address, "--progress", "rawjson", "--build-context",
                    base.argument, "-o", "type=local,dest=\(workspace.path)/\(directory)", context,
                ], environment: ["SOURCE_DATE_EPOCH": ""])
            guard result.status == 0 else {
                throw HarnessFailure("the build exits \(result.status): \(result.errors)\nlog: \(node.log)")
            }
            return result
        }

        /// All entries of a directory of the workspace and the checksums of its files.
        private static func listing(of directory: String, _ workspace: Workspace) async throws -> String {
            let listing =
                "find . -type f -exec sha256sum {} + | sort; find . -printf '%p %y %m %U %G %n %l\\n' | sort"
            return try await workspace.check(["sh", "-c", "cd \(workspace.path)/\(directory) && \(listing)"])
        }

        /// Bytes of the context that came to the node.
        private static func uploaded(_ result: Command.Result) throws -> Int {
            let lines = result.errors.split(separator: "\n")
            let statuses = lines.flatMap { line in
                (try? JSONDecoder().decode(Progress.self, from: Data(line.utf8)))?.statuses ?? []
            }
            guard let bytes = statuses.filter({ $0.id == "transferring context:" }).map(\.current).max() else {
                throw HarnessFailure("no progress of the context: \(result.errors)")
            }
            return bytes
        }

        private struct Progress: Decodable {
            struct Status: Decodable {
                var id: String
                var current: Int
            }
            var statuses: [Status]?
        }
    }
}
