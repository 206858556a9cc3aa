import BuildKitProtocol
import BuildSession
import Foundation
import LLB
import OCI
import PeerRuntime
import SwiftProtobuf
import Synchronization
import Testing

/// The unmodified clients against this server.
///
/// Name them in the environment to run these: `PEERBUILD_TEST_BUILDCTL` and
/// `PEERBUILD_TEST_BUILDX` are paths of the programs.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct RealClientTests {
    private static let buildctl = ProcessInfo.processInfo.environment["PEERBUILD_TEST_BUILDCTL"]
    private static let buildx = ProcessInfo.processInfo.environment["PEERBUILD_TEST_BUILDX"]

    /// A "frontend" that reads the client's Dockerfile, and an exporter that sends back what it finds.
    private static func backend(failing: Bool = false) -> RecordingBackend {
        RecordingBackend(
            .init(
                frontend: { build, _, attributes in
                    let session = try #require(build.request.session)
                    let root = NSTemporaryDirectory() + "pbctx-" + UUID().uuidString.prefix(8)
                    try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
                    defer { try? FileManager.default.removeItem(atPath: root) }
                    _ = try await session.receiveDirectory(
                        DirectoryRequest(name: "dockerfile", followPaths: ["Dockerfile"]), into: root
                    ) { _ in }
                    let text = try #require(FileManager.default.contents(atPath: root + "/Dockerfile"))
                    var vertex = VertexProgress(digest: Digest.of([1]), inputs: [], name: "RUN the thing")
                    vertex.started = 1_700_000_000_000_000_000
                    build.emit(.vertex(vertex))
                    build.emit(
                        .log(VertexLog(vertex: vertex.digest, timestamp: 1, stream: 1, bytes: Array("made it\n".utf8))))
                    if failing {
                        var error = BuildError(
                            "process \"/bin/sh -c no\" did not complete successfully: exit code: 7",
                            vertex: vertex.digest, exitCode: 7)
                        error.sources = [
                            .init(
                                info: .with {
                                    $0.filename = "Dockerfile"
                                    $0.data = text
                                },
                                ranges: [
                                    .with {
                                        $0.start.line = 2
                                        $0.end.line = 2
                                    }
                                ])
                        ]
                        vertex.completed = vertex.started
                        vertex.error = error.message
                        build.emit(.vertex(vertex))
                        throw error
                    }
                    vertex.completed = vertex.started
                    build.emit(.vertex(vertex))
                    let secret = try await session.secret("token").map { String(decoding: $0, as: UTF8.self) }
                    return BuildResult(
                        references: .single(try await build.load(.with { $0.def = [text] })),
                        metadata: ["secret": Array((secret ?? "none").utf8)])
                },
                finish: { build, result in
                    guard let session = build.request.session else { return [:] }
                    for (index, exporter) in build.request.exporters.enumerated() {
                        if exporter.type == "local" {
                            let root = NSTemporaryDirectory() + "pbout-" + UUID().uuidString.prefix(8)
                            try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
                            defer { try? FileManager.default.removeItem(atPath: root) }
                            try Data(result.metadata["secret"] ?? []).write(to: URL(filePath: root + "/secret"))
                            try await session.sendDirectory(exporter: index, metadata: [:], from: root) { _ in }
                        } else {
                            try await session.sendFile(exporter: index, metadata: [:]) { out in
                                for _ in 0..<100 { try await out.write([UInt8](repeating: 66, count: 50_000)) }
                            }
                        }
                    }
                    return ["containerimage.digest": Digest.of([9]).description]
                }))
    }

    @Test(.enabled(if: buildctl != nil, "PEERBUILD_TEST_BUILDCTL names no buildctl"))
    func `buildctl builds through the gateway and writes a directory`() async throws {
        try await Harness.run(Self.backend()) { harness in
            try Self.writeContext(harness)
            let (status, output) = try await Self.run(
                try #require(Self.buildctl),
                [
                    "--addr", "unix://" + harness.socket, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
                    "--local", "context=.", "--local", "dockerfile=.", "--secret", "id=token,src=token", "--output",
                    "type=local,dest=out",
                ], in: harness.directory)
            #expect(status == 0, "\(output)")
            #expect(output.contains("made it"))
            #expect(FileManager.default.contents(atPath: harness.directory + "/out/secret") == Data("s3cret".utf8))
            #expect(harness.backend.builds.map(\.calls) == [["frontend dockerfile.v0", "load 1", "finish"]])
        }
    }

    @Test(.enabled(if: buildctl != nil, "PEERBUILD_TEST_BUILDCTL names no buildctl"))
    func `buildctl takes a tarball, shows a failure with its source, and administers`() async throws {
        try await Harness.run(Self.backend()) { harness in
            try Self.writeContext(harness)
            let buildctl = try #require(Self.buildctl)
            let address = ["--addr", "unix://" + harness.socket]
            let build = [
                "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=.", "--local",
                "dockerfile=.",
            ]
            let (status, output) = try await Self.run(
                buildctl, address + build + ["--output", "type=tar,dest=out.tar"], in: harness.directory)
            #expect(status == 0, "\(output)")
            #expect(FileManager.default.contents(atPath: harness.directory + "/out.tar")?.count == 5_000_000)
            for command in [["du"], ["prune"], ["debug", "workers"], ["debug", "info"]] {
                let (status, output) = try await Self.run(buildctl, address + command, in: harness.directory)
                #expect(status == 0, "\(command): \(output)")
            }
        }
        try await Harness.run(Self.backend(failing: true)) { harness in
            try Self.writeContext(harness)
            let (status, output) = try await Self.run(
                try #require(Self.buildctl),
                [
                    "--addr", "unix://" + harness.socket, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
                    "--local", "context=.", "--local", "dockerfile=.",
                ], in: harness.directory)
            #expect(status == 1)
            #expect(output.contains("Dockerfile:2"))
            #expect(output.contains(">>> RUN no"))
            #expect(output.contains("exit code: 7"))
        }
    }

    @Test(.enabled(if: buildx != nil, "PEERBUILD_TEST_BUILDX names no docker-buildx"))
    func `buildx builds with its remote driver`() async throws {
        try await Harness.run(Self.backend()) { harness in
            try Self.writeContext(harness)
            let buildx = try #require(Self.buildx)
            for arguments in [
                ["create", "--driver", "remote", "--name", "peer", "unix://" + harness.socket],
                ["inspect", "--builder", "peer", "--bootstrap"],
                [
                    "build", "--builder", "peer", "--progress", "plain", "--secret", "id=token,src=token", "-o", "out",
                    ".",
                ],
                [
                    "build", "--builder", "peer", "--progress", "plain", "-o", "type=oci,dest=out.tar",
                    "--metadata-file", "meta.json", ".",
                ],
                ["du", "--builder", "peer"], ["prune", "--builder", "peer", "-f"],
            ] {
                let (status, output) = try await Self.run(buildx, arguments, in: harness.directory)
                #expect(status == 0, "\(arguments): \(output)")
            }
            #expect(FileManager.default.contents(atPath: harness.directory + "/out/secret") == Data("s3cret".utf8))
            #expect(FileManager.default.contents(atPath: harness.directory + "/out.tar")?.count == 5_000_000)
        }
    }

    @Test(.enabled(if: buildctl != nil, "PEERBUILD_TEST_BUILDCTL names no buildctl"))
    func `a killed client abandons its build and leaves the server well`() async throws {
        let backend = RecordingBackend(
            .init(
                frontend: { build, _, _ in
                    build.note("waiting")
                    try await Task.sleep(for: .seconds(60))
                    return BuildResult(references: .none)
                }))
        try await Harness.run(backend) { harness in
            try Self.writeContext(harness)
            let process = Process()
            process.executableURL = URL(filePath: try #require(Self.buildctl))
            process.currentDirectoryURL = URL(filePath: harness.directory)
            process.arguments = [
                "--addr", "unix://" + harness.socket, "build", "--frontend", "dockerfile.v0", "--local", "context=.",
                "--local", "dockerfile=.",
            ]
            process.standardError = FileHandle.nullDevice
            try process.run()
            #expect(await eventually { backend.builds.first?.calls.contains("waiting") == true })
            kill(process.processIdentifier, SIGKILL)
            #expect(await eventually { backend.builds.first?.calls.contains("abandon context canceled") == true })
            _ = try await harness.control.listWorkers(.init())
        }
    }

    private static func writeContext(_ harness: Harness) throws {
        try Data("FROM scratch\nRUN no\n".utf8).write(to: URL(filePath: harness.directory + "/Dockerfile"))
        try Data("s3cret".utf8).write(to: URL(filePath: harness.directory + "/token"))
    }

    /// Runs a program to its end without blocking a thread of the tests' pool; its output goes through a file.
    private static func run(
        _ program: String, _ arguments: [String], in directory: String
    ) async throws -> (status: Int32, output: String) {
        let path = directory + "/output"
        try Data().write(to: URL(filePath: path))
        let file = try #require(FileHandle(forWritingAtPath: path))
        let process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = arguments
        process.currentDirectoryURL = URL(filePath: directory)
        process.environment = ["HOME": directory, "BUILDX_CONFIG": directory + "/.buildx", "PATH": "/usr/bin:/bin"]
        process.standardOutput = file
        process.standardError = file
        process.standardInput = FileHandle.nullDevice
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in continuation.resume() }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        let output = FileManager.default.contents(atPath: path) ?? Data()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}
