import BuildKitProtocol
import Foundation
import GRPCCore
import LLB
import OCI
import PeerRuntime
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)))
struct GatewayFlowTests {
    private static func definition(_ text: String = "op") -> Pb_Definition {
        .with { $0.def = [Data(text.utf8)] }
    }

    @Test func `gateway calls that arrive before Solve wait for it, and the returned result is finished`() async throws
    {
        let backend = RecordingBackend(
            .init(finish: { _, _ in ["containerimage.digest": "sha256:abc"] }))
        try await Harness.run(backend) { harness in
            async let pong = harness.bridge.ping(.init(), metadata: Harness.metadata("b1"))
            async let solved = harness.control.solve(.with { $0.ref = "b1" })
            #expect(try await pong.llbcaps.contains { $0.id == "file.base" && $0.enabled })
            let answer = try await harness.bridge.solve(
                .with {
                    $0.definition = Self.definition()
                    $0.allowResultReturn = true
                    $0.allowResultArrayRef = true
                }, metadata: Harness.metadata("b1"))
            #expect(answer.result.ref.id == "ref-1")
            #expect(answer.result.ref.def == Self.definition())
            #expect(backend.builds.first?.calls == ["load 1"], "Solve through the gateway runs nothing")
            _ = try await harness.bridge.return(
                .with { $0.result = answer.result }, metadata: Harness.metadata("b1"))
            #expect(try await solved.exporterResponse == ["containerimage.digest": "sha256:abc"])
            guard case .single(let reference) = backend.builds.first?.finished.first?.references else {
                Issue.record("nothing was finished")
                return
            }
            #expect(reference.id == "ref-1")
        }
    }

    @Test func `a probe build returns an empty reference and ends well without a session`() async throws {
        try await Harness.run { harness in
            async let solved = harness.control.solve(
                .with {
                    $0.ref = "probe"
                    $0.internal = true
                })
            _ = try await harness.bridge.ping(.init(), metadata: Harness.metadata("probe"))
            _ = try await harness.bridge.return(
                .with { $0.result = .with { $0.ref = .init() } }, metadata: Harness.metadata("probe"))
            #expect(try await solved.exporterResponse.isEmpty)
            let build = try #require(harness.backend.builds.first)
            #expect(build.request.isInternal)
            #expect(build.calls == ["finish"])
            guard case .some(.none) = build.finished.first?.references.probe else {
                Issue.record("expected nothing, got \(build.finished)")
                return
            }
        }
    }

    @Test func `a gateway call without a build fails with NotFound after its patience`() async throws {
        try await Harness.run { harness in
            let error = await #expect(throws: RPCError.self) {
                try await harness.bridge.ping(.init(), metadata: Harness.metadata("nobody"))
            }
            #expect(error?.code == .notFound)
            #expect(error?.message == "no such job nobody")
        }
    }

    @Test func `a frontend's error comes out of both solves with its details`() async throws {
        let backend = RecordingBackend(
            .init(frontend: { _, _, _ in
                var error = BuildError("dockerfile parse error on line 2", vertex: Digest.of([1]), exitCode: 7)
                error.sources = [
                    .init(
                        info: .with {
                            $0.filename = "Dockerfile"
                            $0.data = Data("FROM a\nRUNN b\n".utf8)
                        },
                        ranges: [
                            .with {
                                $0.start.line = 2; $0.end.line = 2
                            }
                        ])
                ]
                throw error
            }))
        try await Harness.run(backend) { harness in
            async let solved = harness.control.solve(.with { $0.ref = "b1" })
            let error = await #expect(throws: RPCError.self) {
                try await harness.bridge.solve(
                    .with { $0.frontend = "dockerfile.v0" }, metadata: Harness.metadata("b1"))
            }
            let inner = try #require(error)
            #expect(inner.code == .unknown)
            let status = try Self.status(of: inner)
            #expect(
                status.details.map(\.typeURL) == [
                    "github.com/moby/buildkit/gatewayapi.ExitMessage+json",
                    "github.com/moby/buildkit/errdefs.Vertex+json", "github.com/moby/buildkit/errdefs.Source+json",
                ])
            #expect(String(decoding: status.details[0].value, as: UTF8.self) == #"{"Code":7}"#)
            #expect(
                String(decoding: status.details[2].value, as: UTF8.self) == """
                    {"info":{"data":"RlJPTSBhClJVTk4gYgo=","filename":"Dockerfile","language":""},\
                    "ranges":[{"end":{"line":2},"start":{"line":2}}]}
                    """)
            _ = try await harness.bridge.return(.with { $0.error = status }, metadata: Harness.metadata("b1"))
            do {
                _ = try await solved
                Issue.record("the build should fail")
            } catch let error as RPCError {
                #expect(error.code == .unknown)
                #expect(error.message == "dockerfile parse error on line 2")
                #expect(try Self.status(of: error) == status)
            }
        }
    }

    @Test func `a second Return is refused`() async throws {
        let backend = RecordingBackend(
            .init(finish: { build, _ in
                _ = await eventually { build.calls.contains("evaluate ") || build.warnings.count == 1 }
                return [:]
            }))
        try await Harness.run(backend) { harness in
            async let solved = harness.control.solve(.with { $0.ref = "b1" })
            let empty = Moby_Buildkit_V1_Frontend_ReturnRequest.with { $0.result = .with { $0.ref = .init() } }
            _ = try await harness.bridge.return(empty, metadata: Harness.metadata("b1"))
            let error = await #expect(throws: RPCError.self) {
                try await harness.bridge.return(empty, metadata: Harness.metadata("b1"))
            }
            #expect(error?.message == "build b1 has returned already")
            _ = try await harness.bridge.warn(
                .with {
                    $0.digest = Digest.of([1]).description
                    $0.short = Data("careful".utf8)
                }, metadata: Harness.metadata("b1"))
            _ = try await solved
            #expect(backend.builds.first?.warnings.first?.short == "careful")
        }
    }

    @Test func `two builds under one reference at once are refused, and one after the other are not`() async throws {
        try await Harness.run { harness in
            let empty = Moby_Buildkit_V1_Frontend_ReturnRequest.with { $0.result = .with { $0.ref = .init() } }
            for _ in 0..<2 {
                async let first = harness.control.solve(.with { $0.ref = "b1" })
                _ = try await harness.bridge.ping(.init(), metadata: Harness.metadata("b1"))
                let began = harness.backend.builds.count
                #expect(await eventually { harness.backend.builds.count >= max(1, began) })
                let error = await #expect(throws: RPCError.self) {
                    try await harness.control.solve(.with { $0.ref = "b1" })
                }
                #expect(error?.code == .alreadyExists)
                _ = try await harness.bridge.return(empty, metadata: Harness.metadata("b1"))
                _ = try await first
            }
        }
    }

    @Test func `a client that cancels Solve abandons its build`() async throws {
        try await Harness.run { harness in
            let solving = Task { try await harness.control.solve(.with { $0.ref = "b1" }) }
            #expect(await eventually { harness.backend.builds.count == 1 })
            solving.cancel()
            #expect(await eventually { harness.backend.builds[0].calls.contains("abandon context canceled") })
            _ = await solving.result
        }
    }

    @Test func `a definition or a frontend in Control Solve needs no gateway`() async throws {
        let backend = RecordingBackend(
            .init(frontend: { build, _, _ in
                BuildResult(references: .single(try await build.load(Self.definition("made"))))
            }))
        try await Harness.run(backend) { harness in
            _ = try await harness.control.solve(
                .with {
                    $0.ref = "direct"
                    $0.definition = Self.definition()
                    $0.exporterDeprecated = "image"
                    $0.exporterAttrsDeprecated = ["name": "x"]
                    $0.cache.imports = [.with { $0.type = "registry" }]
                    $0.entitlements = ["network.host"]
                })
            _ = try await harness.control.solve(
                .with {
                    $0.ref = "front"
                    $0.frontend = "gateway.v0"
                    $0.frontendAttrs = ["source": "dockerfile.v0"]
                })
            #expect(
                backend.builds.map(\.calls) == [["load 1", "finish"], ["frontend dockerfile.v0", "load 1", "finish"]])
            let request = backend.builds[0].request
            #expect(request.exporters == [ExporterRequest(type: "image", attributes: ["name": "x"])])
            #expect(request.cacheImports == [CacheOption(type: "registry", attributes: [:])])
            #expect(request.entitlements == ["network.host"])
        }
    }

    @Test func `references are read, resolved and evaluated through the gateway`() async throws {
        try await Harness.run { harness in
            async let solved = harness.control.solve(.with { $0.ref = "b1" })
            let header = Harness.metadata("b1")
            let answer = try await harness.bridge.solve(
                .with {
                    $0.definition = Self.definition()
                    $0.allowResultReturn = true
                    $0.allowResultArrayRef = true
                    $0.evaluate = true
                }, metadata: header)
            let id = answer.result.ref.id
            let part = try await harness.bridge.readFile(
                .with {
                    $0.ref = id
                    $0.filePath = "/hello"
                    $0.range = .with {
                        $0.offset = 6; $0.length = 100
                    }
                }, metadata: header)
            #expect(String(decoding: part.data, as: UTF8.self) == "world")
            let missing = await #expect(throws: RPCError.self) {
                try await harness.bridge.readFile(
                    .with {
                        $0.ref = id; $0.filePath = "/nope"
                    }, metadata: header)
            }
            #expect(missing?.message == "open /nope: no such file or directory")
            let stat = try await harness.bridge.statFile(
                .with {
                    $0.ref = id; $0.path = "/usr/bin"
                }, metadata: header)
            #expect(stat.stat.path == "bin")
            #expect(stat.stat.mode == 0x8000_0000 | 0o755)
            let entries = try await harness.bridge.readDir(
                .with {
                    $0.ref = id; $0.dirPath = "/"
                }, metadata: header)
            #expect(entries.entries.map(\.path) == ["a", "b"])
            #expect(entries.entries.map(\.mode) == [0o644, 0x0800_0000 | 0o777])
            let meta = try await harness.bridge.resolveSourceMeta(
                .with {
                    $0.source.identifier = "docker-image://docker.io/library/alpine:latest"
                    $0.platform = .with {
                        $0.os = "linux"; $0.architecture = "arm64"
                    }
                }, metadata: header)
            #expect(meta.source.identifier == "docker-image://docker.io/library/alpine:latest")
            #expect(meta.image.digest == Digest.of(Array("x".utf8)).description)
            let unknown = await #expect(throws: RPCError.self) {
                try await harness.bridge.evaluate(.with { $0.ref = "stranger" }, metadata: header)
            }
            #expect(unknown?.message == "no such ref: stranger")
            _ = try await harness.bridge.return(.with { $0.result = answer.result }, metadata: header)
            _ = try await solved
            #expect(
                harness.backend.builds[0].calls == [
                    "load 1", "evaluate ref-1", "readFile ref-1 /hello 6..<106", "readFile ref-1 /nope whole",
                    "stat /usr/bin", "readDir / -",
                    "resolve docker-image://docker.io/library/alpine:latest linux/arm64 true", "finish",
                ])
        }
    }

    static func status(of error: RPCError) throws -> Google_Rpc_Status {
        let bytes = try #require(error.metadata[binaryValues: "grpc-status-details-bin"].first { _ in true })
        return try Google_Rpc_Status(serializedBytes: bytes)
    }
}

extension BuildResult.References {
    /// The reference of a build, as an optional of an optional: `.some(.none)` is "nothing was built".
    fileprivate var probe: BuildReference?? {
        switch self {
        case .none: .some(.none)
        case .single(let reference): .some(reference)
        case .platforms: nil
        }
    }
}
