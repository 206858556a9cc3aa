import BuildKitProtocol
import BuildSession
import FileSync
import Foundation
import GRPCCore
import LLB
import OCI
import PeerRuntime
import SwiftProtobuf
import Synchronization
import Testing

/// What a build asks of its session is answered by real services at the other end of a real tunnel.
@Suite(.timeLimit(.minutes(1)))
struct SessionTests {
    @Test func `secrets and credentials come from the client, and what it lacks is nil`() async throws {
        try await run(methods: ["/moby.filesync.v1.auth/credentials"], services: [Keeper()], sharedKey: "dir:1") {
            session in
            #expect(session.id == "s1")
            #expect(session.sharedKey == "dir:1")
            #expect(session.serves("/moby.filesync.v1.Auth/Credentials"))
            #expect(!session.serves("/moby.filesync.v1.FileSync/DiffCopy"))
            let secret = try await session.secret("token")
            #expect(secret == Array("s3cret".utf8))
            #expect(try await session.secret("other") == nil)
            #expect(
                try await session.credentials(forHost: "r.example")
                    == RegistryCredentials(username: "u", secret: "r.example"))
            #expect(try await session.credentials(forHost: "anonymous") == nil)
            let error = await #expect(throws: (any Error).self) {
                try await session.receiveDirectory(DirectoryRequest(name: "context"), into: "/tmp") { _ in }
            }
            #expect(error.map { "\($0)" } == "no local sources enabled")
        }
    }

    @Test func `a client without a service for secrets has none`() async throws {
        try await run(methods: [], services: []) { session in
            let secret = try await session.secret("token")
            #expect(secret == nil)
            #expect(try await session.hasSSHAgent("default") == false)
        }
    }

    @Test func `an agent's connection carries bytes both ways and ends with its half-close`() async throws {
        try await run(
            methods: ["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"], services: [Agent()]
        ) { session in
            #expect(try await session.hasSSHAgent("default"))
            #expect(try await session.hasSSHAgent("stranger") == false)
            let connection = try await session.connectSSHAgent("")
            let question = [UInt8](repeating: 7, count: 100_000)
            async let answer = Self.readAll(connection)
            try await connection.write(question)
            await connection.finishWriting()
            #expect(try await answer == Array("default:".utf8) + question.reversed())
            connection.close()
        }
    }

    @Test func `a file goes to the client in order with its headers, and a client that has it is content`() async throws
    {
        let sink = FileTaker()
        try await run(methods: ["/moby.filesync.v1.FileSend/DiffCopy"], services: [sink]) { session in
            let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try await session.sendFile(exporter: 2, metadata: ["containerimage.digest": "sha256:1"]) { out in
                try await out.write(Array(bytes[..<5]))
                try await out.write(Array(bytes[5...]))
            }
            #expect(sink.bytes == bytes)
            #expect(sink.headers == ["2", "sha256:1"])
            // The client refuses at once with AlreadyExists; that is a success.
            try await session.sendFile(exporter: 9, metadata: [:]) { out in
                for _ in 0..<1000 { try await out.write([UInt8](repeating: 0, count: 65_536)) }
            }
            let error = await #expect(throws: (any Error).self) {
                try await session.sendFile(exporter: 8, metadata: [:]) { out in try await out.write([1]) }
            }
            #expect(error.map { "\($0)" } == "disk full")
            await #expect(throws: BuildError.self) {
                try await session.sendFile(exporter: 2, metadata: [:]) { _ in throw BuildError("our own") }
            }
        }
    }

    @Test func `blobs are read from and written to the client's content store`() async throws {
        let store = BlobStore()
        try await run(methods: ["/containerd.services.content.v1.Content/Write"], services: [store]) { session in
            let content = session.contentStore("export")
            let blob = (0..<5_500_000).map { UInt8(truncatingIfNeeded: $0 &* 13) }
            let digest = Digest.of(blob)
            #expect(try await content.size(of: digest) == nil)
            try await content.write(digest, size: Int64(blob.count), name: "layer-1") { out in try await out.write(blob)
            }
            #expect(try await content.size(of: digest) == Int64(blob.count))
            // Present already: a success.
            try await content.write(digest, size: Int64(blob.count), name: "layer-1") { out in try await out.write(blob)
            }
            let read = Mutex([UInt8]())
            try await content.read(digest, from: 5_000_000) { piece in read.withLock { $0 += piece } }
            #expect(read.withLock { $0 } == Array(blob[5_000_000...]))
            #expect(store.stores == ["export"])
        }
    }

    @Test func `an upload is streamed to its end`() async throws {
        try await run(methods: ["/moby.upload.v1.Upload/Pull"], services: [Uploader()]) { session in
            let got = Mutex([UInt8]())
            try await session.openUpload(path: "/abc") { piece in got.withLock { $0 += piece } }
            #expect(got.withLock { $0 } == Array("/abc@buildkit-session".utf8) + [UInt8](repeating: 1, count: 70_000))
        }
    }

    @Test func `a directory is synced, and only what changed the next time`() async throws {
        let base = NSTemporaryDirectory() + "pbsync-" + UUID().uuidString.prefix(8)
        defer { try? FileManager.default.removeItem(atPath: base) }
        for name in ["/src/sub", "/out"] {
            try FileManager.default.createDirectory(atPath: base + name, withIntermediateDirectories: true)
        }
        let big = Data((0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) })
        try big.write(to: URL(filePath: base + "/src/sub/big"))
        try Data("hello".utf8).write(to: URL(filePath: base + "/src/a ü.txt"))
        try Data("no".utf8).write(to: URL(filePath: base + "/src/ignored"))
        let source = DirectorySource(root: base + "/src")
        try await run(methods: ["/moby.filesync.v1.FileSync/DiffCopy"], services: [source]) { session in
            let request = DirectoryRequest(
                name: "context", includePatterns: ["sub", "a ü.txt"], excludePatterns: ["ignored"])
            let first = try await session.receiveDirectory(request, into: base + "/out") { _ in }
            #expect(first.bytes == 2_000_005)
            #expect(FileManager.default.contents(atPath: base + "/out/sub/big") == big)
            #expect(FileManager.default.contents(atPath: base + "/out/a ü.txt") == Data("hello".utf8))
            let second = try await session.receiveDirectory(request, into: base + "/out") { _ in }
            #expect(second == DirectoryChanges(entries: 0, bytes: 0))
            #expect(source.names == ["context", "context"])
            #expect(source.includes.first == ["sub", "a ü.txt"])
            let error = await #expect(throws: (any Error).self) {
                try await session.receiveDirectory(DirectoryRequest(name: "secret"), into: base + "/out") { _ in }
            }
            #expect(error.map { "\($0)" }?.contains("no access allowed to dir \"secret\"") == true)
        }
    }

    @Test func `a directory goes to the client`() async throws {
        let base = NSTemporaryDirectory() + "pbsend-" + UUID().uuidString.prefix(8)
        defer { try? FileManager.default.removeItem(atPath: base) }
        for name in ["/src/sub", "/out"] {
            try FileManager.default.createDirectory(atPath: base + name, withIntermediateDirectories: true)
        }
        try Data("hello".utf8).write(to: URL(filePath: base + "/src/sub/a"))
        let taker = DirectoryTaker(root: base + "/out")
        try await run(methods: ["/moby.filesync.v1.FileSend/DiffCopy"], services: [taker]) { session in
            try await session.sendDirectory(exporter: 0, metadata: [:], from: base + "/src") { _ in }
            #expect(FileManager.default.contents(atPath: base + "/out/sub/a") == Data("hello".utf8))
        }
    }

    @Test func `a second session under the same id is refused`() async throws {
        try await Harness.run { harness in
            async let solved = harness.control.solve(
                .with {
                    $0.ref = "b1"
                    $0.session = "s1"
                    $0.definition.def = [Data([1])]
                })
            try await harness.withSession(id: "s1", methods: [], services: []) {
                // A build begins as soon as its session is there.
                #expect(await eventually { !harness.backend.builds.isEmpty })
                let error = await #expect(throws: RPCError.self) {
                    try await harness.control.session(
                        metadata: ["x-docker-expose-session-uuid": "s1"], requestProducer: { _ in },
                        onResponse: { response in for try await _ in response.messages {} })
                }
                #expect(error?.code == .alreadyExists)
            }
            _ = try await solved
        }
    }

    @Test func `calls under way fail when the client goes away`() async throws {
        let failure = Mutex<String?>(nil)
        let backend = RecordingBackend(
            .init(finish: { build, _ in
                do {
                    build.note("asking")
                    _ = try await build.request.session?.secret("never")
                } catch {
                    failure.withLock { $0 = "\(error)" }
                }
                await build.request.session?.waitUntilClosed()
                return [:]
            }))
        try await Harness.run(backend) { harness in
            async let solved = harness.control.solve(
                .with {
                    $0.ref = "b1"
                    $0.session = "s1"
                    $0.definition.def = [Data([1])]
                })
            try await harness.withSession(
                id: "s1", methods: ["/moby.buildkit.secrets.v1.Secrets/GetSecret"], services: [Keeper()]
            ) {
                #expect(await eventually { backend.builds.first?.calls.contains("asking") == true })
            }
            _ = try await solved
            #expect(failure.withLock { $0 } == "the client's session s1 ended before the build did")
        }
    }

    @Test func `a build whose session never comes runs without one`() async throws {
        let backend = RecordingBackend(
            .init(finish: { build, _ in
                let session = try #require(build.request.session)
                #expect(try await session.credentials(forHost: "h") == nil)
                _ = try await session.secret("x")
                return [:]
            }))
        try await Harness.run(backend) { harness in
            let error = await #expect(throws: RPCError.self) {
                try await harness.control.solve(
                    .with {
                        $0.ref = "b1"
                        $0.session = "ghost"
                        $0.definition.def = [Data([1])]
                    })
            }
            #expect(error?.message == "no active session for ghost: context deadline exceeded")
        }
    }

    /// Runs `use` as a build's work, with the session of a client that serves `services`.
    private func run(
        methods: [String], services: [any RegistrableRPCService], sharedKey: String = "",
        _ use: @escaping @Sendable (any ClientSession) async throws -> Void
    ) async throws {
        let backend = RecordingBackend(
            .init(finish: { build, _ in
                defer { build.note("done") }
                try await use(try #require(build.request.session))
                return [:]
            }))
        try await Harness.run(backend) { harness in
            // Solve comes first: it waits for its session.
            async let solved = harness.control.solve(
                .with {
                    $0.ref = "b1"
                    $0.session = "s1"
                    $0.definition.def = [Data([1])]
                })
            try await harness.withSession(id: "s1", sharedKey: sharedKey, methods: methods, services: services) {
                #expect(await eventually { backend.builds.first?.calls.contains("done") == true })
            }
            _ = try await solved
        }
    }

    private static func readAll(_ connection: any ByteDuplex) async throws -> [UInt8] {
        var all: [UInt8] = []
        while let bytes = try await connection.read() { all += bytes }
        return all
    }
}
