import ContentStore
import Foundation
import OCI
import RegistryFixtures
import Snapshots
import Testing

@testable import Worker

@Suite struct HTTPSourceTests {
    private static func withSource(
        _ answer: @escaping @Sendable (LoopbackHTTPServer.Request) -> LoopbackHTTPServer.Response,
        _ body: (LoopbackHTTPServer, ImageFixture, HTTPSource) async throws -> Void
    ) async throws {
        let server = try await LoopbackHTTPServer.start(answer)
        try await ImageFixture.with { node in
            let source = try HTTPSource(
                content: node.content, snapshots: node.snapshots, cacheDirectory: node.directory + "/http")
            do {
                try await body(server, node, source)
            } catch {
                try await source.shutdown()
                throw error
            }
            try await source.shutdown()
        }
        try await server.stop()
    }

    private static let file = LoopbackHTTPServer.Response(
        200, headers: [("ETag", "\"1\""), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")], body: Array("data".utf8))

    @Test func `a file is downloaded once, then only validated, and lies in the tree as asked`() async throws {
        try await Self.withSource { request in
            request.header("If-None-Match") == "\"1\"" ? LoopbackHTTPServer.Response(304) : Self.file
        } _: { server, node, source in
            let attributes = try HTTPAttributes(
                attributes: [
                    "http.perm": "0640", "http.uid": "12", "http.gid": "34", "http.checksum": "",
                ].filter { !$0.value.isEmpty })
            let url = "http://\(server.host)/dir/file.txt?v=1"
            let first = try await source.fetch(url, attributes: attributes, context: OperationContext())
            let second = try await source.fetch(url, attributes: attributes, context: OperationContext())
            #expect(first == second)
            #expect(server.requests.map { $0.header("If-None-Match") } == [nil, "\"1\""])
            let view = try node.snapshots.view(of: first)
            defer { view.release() }
            #expect(try FileManager.default.contentsOfDirectory(atPath: view.path) == ["file.txt"])
            let path = view.path + "/file.txt"
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "data")
            let found = try FileManager.default.attributesOfItem(atPath: path)
            #expect(found[.posixPermissions] as? Int == 0o640)
            #expect((found[.ownerAccountID] as? NSNumber)?.intValue == 12)
            #expect((found[.groupOwnerAccountID] as? NSNumber)?.intValue == 34)
            #expect(found[.modificationDate] as? Date == Date(timeIntervalSince1970: 784_111_777))
        }
    }

    @Test func `a wrong checksum is refused, a right one that is here asks nobody`() async throws {
        try await Self.withSource { _ in
            Self.file
        } _: { server, _, source in
            let url = "http://\(server.host)/file"
            let wrong = try HTTPAttributes(attributes: ["http.checksum": Digest.of([]).description])
            let error = await #expect(throws: HTTPSourceError.self) {
                try await source.resolve(url, attributes: wrong, context: OperationContext())
            }
            #expect(error?.description.contains("digest mismatch for \(url)") == true)
            let right = try HTTPAttributes(attributes: ["http.checksum": Digest.of("data".utf8).description])
            _ = try await source.resolve(url, attributes: right, context: OperationContext())
            #expect(server.requests.count == 1)
        }
    }

    @Test func `a missing file is told with address and status`() async throws {
        try await Self.withSource { _ in
            LoopbackHTTPServer.Response(404)
        } _: { server, _, source in
            let url = "http://\(server.host)/file"
            let error = await #expect(throws: HTTPSourceError.self) {
                try await source.resolve(
                    url, attributes: try HTTPAttributes(attributes: [:]), context: OperationContext())
            }
            #expect(error?.description == "failed to load \(url): the server answered 404 Not Found")
        }
    }
}
