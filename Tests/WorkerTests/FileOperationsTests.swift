internal import ClusterModel
internal import Foundation
internal import LLB
internal import Snapshots
internal import Testing
internal import Worker

@Suite(.serialized) struct FileOperationsTests {
    /// A store without containers.
    private struct Files {
        let root: String
        let snapshots: SnapshotStore

        init() throws {
            root = NSTemporaryDirectory() + "peerbuild-files-\(UUID().uuidString)"
            try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
            snapshots = try SnapshotStore(root: root)
        }

        func close() { try? FileManager.default.removeItem(atPath: root) }

        /// A chain of one layer that a script makes in an empty tree.
        func tree(_ script: String) throws -> LayerChain {
            let work = try snapshots.prepare(over: .scratch)
            let process = Process()
            process.executableURL = URL(filePath: "/bin/sh")
            process.arguments = ["-ec", "umask 022; \(script)"]
            process.currentDirectoryURL = URL(filePath: work.path)
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0, "\(script)")
            return LayerChain(try snapshots.commit(work).map { [$0] } ?? [])
        }

        /// What a script prints in a tree.
        func look(_ chain: LayerChain?, _ script: String) throws -> String {
            let view = try snapshots.view(of: chain ?? .scratch)
            defer { view.release() }
            let process = Process()
            let pipe = Pipe()
            process.executableURL = URL(filePath: "/bin/sh")
            process.arguments = ["-c", script]
            process.currentDirectoryURL = URL(filePath: view.path)
            process.standardOutput = pipe
            try process.run()
            let output = pipe.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return String(decoding: output, as: UTF8.self)
        }

        func run(_ actions: [Pb_FileAction], _ inputs: [LayerChain]) async throws -> LayerChain? {
            var op = Pb_FileOp()
            op.actions = actions
            return try await FileOperations(snapshots: snapshots).execute(
                op, inputs: inputs, context: OperationContext()
            ).last ?? nil
        }
    }

    private static func copy(
        _ source: String, _ target: String, _ change: (inout Pb_FileActionCopy) -> Void = { _ in }
    ) -> Pb_FileAction {
        made(Pb_FileAction()) {
            $0.input = 0
            $0.secondaryInput = 1
            $0.copy = made(Pb_FileActionCopy()) {
                $0.src = source
                $0.dest = target
                $0.mode = -1
                $0.timestamp = -1
                $0.followSymlink = true
                $0.dirCopyContents = true
                $0.createDestPath = true
                $0.allowWildcard = true
                $0.allowEmptyWildcard = true
                change(&$0)
            }
        }
    }

    private static let source = """
        mkdir -p d/sub; echo 1 > f; echo 2 > d/a; echo 3 > d/sub/b; ln d/a d/hard; ln -s /d/a link; ln -s sub d/rel
        ln -s /etc escape; chown 7:8 d/sub/b; chmod 4750 d/sub/b; mkfifo d/pipe; touch -d @1000000000 d/a f
        truncate -s 1M d/sparse
        """

    @Test(arguments: [
        // source, destination, what the tree then has
        ("/f", "/x", "x"), ("/f", "/x/", "x/f"), ("/f", "/there", "there/f"), ("/f", "/new/deep/y", "new/deep/y"),
        ("/d", "/x", "x/a"), ("/d", "/there", "there/a"), ("/d/", "/x/", "x/sub/b"), ("/link", "/x", "x"),
        ("/?", "/x/", "x/f"), ("/d/s*", "/x/", "x/b"), ("/f", "/to-there", "there/f"), ("/d/rel", "/x", "x/b"),
    ])
    func `Copies land where a Dockerfile author expects`(source: String, target: String, path: String) async throws {
        let files = try Files()
        defer { files.close() }
        let base = try files.tree("mkdir there; ln -s there to-there")
        let result = try await files.run([Self.copy(source, target)], [base, try files.tree(Self.source)])
        #expect(try files.look(result, "test -f \(path) && echo yes") == "yes\n")
    }

    @Test func `Copies keep metadata, links, holes and fifos, or take what the op says`() async throws {
        let files = try Files()
        defer { files.close() }
        let input = try files.tree(Self.source)
        let kept = try await files.run([Self.copy("/d", "/d")], [.scratch, input])
        #expect(
            try files.look(
                kept,
                "stat -c '%a %u:%g' d/sub/b; stat -c '%Y' d/a; stat -c %h d/a; test -p d/pipe && echo fifo; test $(stat -c %b d/sparse) -lt 100 && echo sparse; readlink d/rel"
            )
                == "4750 7:8\n1000000000\n2\nfifo\nsparse\nsub\n")
        let changed = try await files.run(
            [
                Self.copy("/d", "/d") {
                    $0.mode = 0o640
                    $0.timestamp = 5_000_000_000
                    $0.owner = made(Pb_ChownOpt()) {
                        $0.user.byID = 42; $0.group.byID = 43
                    }
                }
            ], [.scratch, input])
        #expect(try files.look(changed, "stat -c '%a %u:%g %Y' d/sub/b d/sub") == "640 42:43 5\n640 42:43 5\n")
        // Parents that a copy makes are from now, unless the op gives a time: then equal ops give equal bytes.
        let fixed = Self.copy("/d", "/new/d") { $0.timestamp = 1_000_000_000 }
        #expect(try await files.run([fixed], [.scratch, input]) == files.run([fixed], [.scratch, input]))
    }

    @Test func `Patterns choose what is copied`() async throws {
        let files = try Files()
        defer { files.close() }
        let input = try files.tree("mkdir -p a/b c; touch a/1.go a/2.txt a/b/3.go c/4.txt")
        let included = try await files.run(
            [Self.copy("/", "/") { $0.includePatterns = ["**/*.go"] }], [.scratch, input])
        #expect(try files.look(included, "find . | sort") == ".\n./a\n./a/1.go\n./a/b\n./a/b/3.go\n")
        let excluded = try await files.run(
            [Self.copy("/", "/") { $0.excludePatterns = ["a/b", "**/*.txt"] }], [.scratch, input])
        #expect(try files.look(excluded, "find . | sort") == ".\n./a\n./a/1.go\n./c\n")
    }

    @Test func `What is missing fails with its path`() async throws {
        let files = try Files()
        defer { files.close() }
        let input = try files.tree(Self.source)
        let error = await #expect(throws: OperationError.self) {
            _ = try await files.run([Self.copy("/nofile", "/")], [.scratch, input])
        }
        #expect(error?.description == "\"/nofile\": not found")
        await #expect(throws: OperationError.notFound(path: "/z*")) {
            _ = try await files.run([Self.copy("/z*", "/") { $0.allowEmptyWildcard = false }], [.scratch, input])
        }
    }

    @Test func `Links never lead out of a tree`() async throws {
        let files = try Files()
        defer { files.close() }
        let name = "peerbuild-escape-\(UUID().uuidString)"
        let base = try files.tree("ln -s /tmp out; ln -s ../../../../tmp up")
        let input = try files.tree("echo x > f; ln -s /etc/passwd stolen; ln -s ../../../../../etc up")
        let result = try await files.run([Self.copy("/f", "/out/\(name)")], [base, input])
        #expect(!FileManager.default.fileExists(atPath: "/tmp/\(name)"))
        #expect(try files.look(result, "cat tmp/\(name)") == "x\n")
        _ = try await files.run([Self.copy("/f", "/up/\(name)")], [base, input])
        #expect(!FileManager.default.fileExists(atPath: "/tmp/\(name)"))
        for path in ["/stolen", "/up/passwd"] {
            await #expect(throws: OperationError.self) {
                _ = try await files.run([Self.copy(path, "/x")], [.scratch, input])
            }
        }
    }

    @Test func `Actions chain by index and make one layer`() async throws {
        let files = try Files()
        defer { files.close() }
        let input = try files.tree("mkdir etc; echo 'app:x:5:6::/:' > etc/passwd; echo y > f")
        let result = try await files.run(
            [
                made(Pb_FileAction()) {
                    $0.input = -1
                    $0.output = -1
                    $0.mkdir = made(Pb_FileActionMkDir()) {
                        $0.path = "/d/e"; $0.makeParents = true; $0.mode = 0o750; $0.timestamp = -1
                    }
                },
                made(Pb_FileAction()) {
                    $0.input = 1
                    $0.output = -1
                    $0.mkfile = made(Pb_FileActionMkFile()) {
                        $0.path = "/d/f"
                        $0.mode = 0o604
                        $0.data = Data("text".utf8)
                        $0.timestamp = 3_000_000_000
                        $0.owner.user.byName = made(Pb_NamedUserOpt()) {
                            $0.name = "app"; $0.input = 0
                        }
                    }
                },
                made(Pb_FileAction()) {
                    $0.input = 2
                    $0.output = -1
                    $0.symlink = made(Pb_FileActionSymlink()) {
                        $0.oldpath = "f"; $0.newpath = "/d/l"; $0.timestamp = -1
                    }
                },
                made(Pb_FileAction()) {
                    $0.input = 3
                    $0.output = -1
                    $0.rm = made(Pb_FileActionRm()) { $0.path = "/d/e" }
                },
                made(Self.copy("/f", "/d/")) {
                    $0.input = 4
                    $0.secondaryInput = 0
                    $0.copy.dest = "/d/g"
                },
            ], [input])
        #expect(result?.layers.count == 1)
        #expect(
            try files.look(result, "ls d; cat d/l; stat -c ' %a %u:%g %Y' d/f; stat -c %a d")
                == "f\ng\nl\ntext 604 5:6 3\n750\n")
    }

    @Test(arguments: ["", "z", "j", "J", "--zstd"])
    func `Archives are unpacked, other files copied`(compression: String) async throws {
        let files = try Files()
        defer { files.close() }
        let option = compression.hasPrefix("--") ? compression : compression.isEmpty ? "" : "-\(compression)"
        let input = try files.tree(
            "mkdir -p in/s; echo t > in/s/f; ln -s f in/s/l; ln in/s/f in/h; chmod 711 in/s; tar \(option) -cf a.tar -C in .; rm -r in; echo plain > p"
        )
        let result = try await files.run(
            [Self.copy("/a.tar", "/to/") { $0.attemptUnpackDockerCompatibility = true }], [.scratch, input])
        #expect(try files.look(result, "cat to/s/l; stat -c %a to/s; stat -c %h to/h") == "t\n711\n2\n")
        let plain = try await files.run(
            [Self.copy("/p", "/to/") { $0.attemptUnpackDockerCompatibility = true }], [.scratch, input])
        #expect(try files.look(plain, "cat to/p") == "plain\n")
    }
}
