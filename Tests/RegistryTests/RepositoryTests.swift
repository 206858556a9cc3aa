import OCI
import Registry
import RegistryFixtures
import Testing

@Suite struct RepositoryTests {
    @Test func `what is pushed to a real registry is pulled back equal`() async throws {
        try await RegistryFixture.withRegistry { registry, client in
            let layer = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 7) }
            let config = Array(#"{"os":"linux"}"#.utf8)
            let reference = try Reference(parsing: "\(registry.host)/team/app:1")
            let repository = client.repository(of: reference, credentials: AnonymousAccess())
            let layerBlob = RegistryFixture.blob(layer)
            let configBlob = RegistryFixture.blob(config)
            #expect(try await repository.upload(layerBlob) { BlobSource(layer) } == .uploaded)
            #expect(try await repository.upload(layerBlob) { BlobSource(layer) } == .alreadyThere)
            #expect(try await repository.upload(configBlob) { BlobSource(config) } == .uploaded)
            let manifest = RegistryFixture.manifest(config: configBlob, layer: layerBlob)
            try await repository.putManifest(manifest, mediaType: MediaType.ociManifest, as: "1")

            let fresh = client.repository(of: reference, credentials: AnonymousAccess())
            let root = try await fresh.resolve()
            #expect(root.digest == Digest.of(manifest))
            #expect(root.mediaType == MediaType.ociManifest)
            #expect(root.size == Int64(manifest.count))
            #expect(try await fresh.manifest(root.digest).bytes == manifest)
            #expect(try await fresh.readBlob(configBlob) == config)
            let pieces = Pieces()
            try await fresh.download(layerBlob) { await pieces.add($0) }
            #expect(await pieces.bytes == layer)
        }
    }

    @Test func `a blob of another repository of the same registry is mounted, not sent`() async throws {
        try await RegistryFixture.withRegistry { registry, client in
            let bytes = Array("shared layer".utf8)
            let blob = RegistryFixture.blob(bytes)
            let first = client.repository(
                of: try Reference(parsing: "\(registry.host)/base:1"), credentials: AnonymousAccess())
            try await first.upload(blob) { BlobSource(bytes) }
            let second = client.repository(
                of: try Reference(parsing: "\(registry.host)/app:1"), credentials: AnonymousAccess())
            let outcome = try await second.upload(blob, mountSources: ["base"]) {
                Issue.record("the bytes were asked for")
                return BlobSource(bytes)
            }
            #expect(outcome == .mounted)
            #expect(try await second.readBlob(blob) == bytes)
        }
    }

    @Test func `a missing tag is told with image, host and status`() async throws {
        try await RegistryFixture.withRegistry { registry, client in
            let reference = try Reference(parsing: "\(registry.host)/nothing:here")
            let repository = client.repository(of: reference, credentials: AnonymousAccess())
            let error = await #expect(throws: RegistryError.self) { try await repository.resolve() }
            #expect(error?.kind == .notFound)
            #expect(error?.status == 404)
            #expect(error?.description.contains("\(registry.host)/nothing:here: not found") == true)
        }
    }

    @Test func `a port where nobody listens is told as connection refused`() async throws {
        let port = try DockerRegistry.freePort()
        let client = RegistryFixture.client()
        let reference = try Reference(parsing: "127.0.0.1:\(port)/app:1")
        let repository = client.repository(of: reference, credentials: AnonymousAccess())
        let error = await #expect(throws: RegistryError.self) { try await repository.resolve() }
        #expect(error?.kind == .unreachable)
        let text = try #require(error?.description)
        #expect(text.contains("cannot reach 127.0.0.1:\(port): connection refused"))
        try await client.shutdown()
    }

    @Test func `a registry without TLS that is spoken to with TLS is told as such`() async throws {
        try await RegistryFixture.withRegistry { registry, other in
            let client = RegistryFixture.client([registry.host: RegistryHostConfiguration(http: false)])
            let reference = try Reference(parsing: "\(registry.host)/app:1")
            let repository = client.repository(of: reference, credentials: AnonymousAccess())
            let error = await #expect(throws: RegistryError.self) { try await repository.resolve() }
            #expect(error?.kind == .tls)
            #expect(error?.description.contains("set http = true") == true)
            try await client.shutdown()
        }
    }

    @Test func `an insecure access falls back to plain HTTP`() async throws {
        try await RegistryFixture.withRegistry { registry, other in
            let client = RegistryFixture.client([registry.host: RegistryHostConfiguration(http: false)])
            let bytes = Array("x".utf8)
            let reference = try Reference(parsing: "\(registry.host)/app:1")
            let repository = client.repository(of: reference, credentials: AnonymousAccess(), isInsecure: true)
            #expect(try await repository.upload(RegistryFixture.blob(bytes)) { BlobSource(bytes) } == .uploaded)
            try await client.shutdown()
        }
    }

    @Test func `mirrors are asked first and a mirror that lacks the image is passed over`() async throws {
        try await RegistryFixture.withRegistry { registry, plain in
            let bytes = Array("mirrored".utf8)
            let blob = RegistryFixture.blob(bytes)
            let upstream = plain.repository(
                of: try Reference(parsing: "\(registry.host)/proxy/library/app:1"), credentials: AnonymousAccess())
            try await upstream.upload(blob) { BlobSource(bytes) }
            let mirror = try await LoopbackHTTPServer.start { _ in LoopbackHTTPServer.Response(404) }
            let client = RegistryFixture.client([
                "docker.io": RegistryHostConfiguration(mirrors: [mirror.host, "http://\(registry.host)/proxy"])
            ])
            let hub = client.repository(of: try Reference(parsing: "app:1"), credentials: AnonymousAccess())
            #expect(try await hub.readBlob(blob) == bytes)
            #expect(mirror.requests.map(\.target) == ["/v2/library/app/blobs/\(blob.digest)?ns=docker.io"])
            try await client.shutdown()
            try await mirror.stop()
        }
    }

    @Test func `a broken download goes on at the byte where it broke`() async throws {
        let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
        let server = try await LoopbackHTTPServer.start { request in
            guard let range = request.header("Range"), let start = Int(range.dropFirst(6).dropLast()) else {
                return LoopbackHTTPServer.Response(200, body: bytes, cutAfter: 40_000)
            }
            return LoopbackHTTPServer.Response(206, body: Array(bytes[start...]))
        }
        let client = RegistryFixture.client()
        let repository = client.repository(
            of: try Reference(parsing: "\(server.host)/app:1"), credentials: AnonymousAccess())
        let pieces = Pieces()
        try await repository.download(RegistryFixture.blob(bytes)) { await pieces.add($0) }
        #expect(await pieces.bytes == bytes)
        #expect(server.requests.count == 2)
        // How much of the first answer came through is the kernel's business.
        let range = try #require(server.requests.last?.header("Range"))
        #expect((1...40_000).contains(Int(range.dropFirst("bytes=".count).dropLast()) ?? 0))
        try await client.shutdown()
        try await server.stop()
    }

    @Test func `bytes with another digest are refused`() async throws {
        let server = try await LoopbackHTTPServer.start { _ in
            LoopbackHTTPServer.Response(200, body: Array("evil".utf8))
        }
        let client = RegistryFixture.client()
        let repository = client.repository(
            of: try Reference(parsing: "\(server.host)/app:1"), credentials: AnonymousAccess())
        let wanted = RegistryFixture.blob(Array("good".utf8))
        let error = await #expect(throws: RegistryError.self) { try await repository.download(wanted) { _ in } }
        #expect(error?.kind == .invalid)
        let second = await #expect(throws: RegistryError.self) { try await repository.manifest(wanted.digest) }
        #expect(second?.kind == .invalid)
        try await client.shutdown()
        try await server.stop()
    }

    @Test func `a server error is tried again, with a bound, and its words are passed on`() async throws {
        let server = try await LoopbackHTTPServer.start { _ in
            LoopbackHTTPServer.Response(
                503, headers: [("Content-Type", "application/json")],
                body: Array(#"{"errors":[{"code":"UNAVAILABLE","message":"try later"}]}"#.utf8))
        }
        let client = RegistryFixture.client()
        let repository = client.repository(
            of: try Reference(parsing: "\(server.host)/app:1"), credentials: AnonymousAccess())
        let error = await #expect(throws: RegistryError.self) {
            try await repository.readBlob(RegistryFixture.blob([1]))
        }
        #expect(server.requests.count == 4)
        #expect(error?.description.contains("answered 503: unavailable: try later") == true)
        try await client.shutdown()
        try await server.stop()
    }
}
