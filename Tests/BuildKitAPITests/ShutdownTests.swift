import BuildKitAPI
import BuildKitProtocol
import Foundation
import GRPCCore
import PeerRuntime
import SwiftProtobuf
import Testing

/// A server that stops while clients wait for answers.
@Suite struct ShutdownTests {
    /// A backend whose frontend goes on when `release` is finished, unless it is cancelled.
    private static func heldBackend() -> (RecordingBackend, release: AsyncStream<Void>.Continuation) {
        let (held, release) = AsyncStream<Void>.makeStream()
        let backend = RecordingBackend(
            .init(
                frontend: { _, _, _ in
                    for await _ in held {}
                    try Task.checkCancellation()
                    return BuildResult(references: .single(.scratch))
                }, finish: { _, _ in ["made": "yes"] }))
        return (backend, release)
    }

    @Test func `a call under way is answered within the grace, and nobody new is served`() async throws {
        let (backend, release) = Self.heldBackend()
        try await Harness.run(backend) { harness in
            let solving = Task { try await Self.solve(harness) }
            #expect(await eventually { backend.builds.first?.calls == ["frontend dockerfile.v0"] })
            harness.server.stop(grace: .seconds(60))
            #expect(await eventually { !Self.acceptsConnections(harness.socket) })
            release.finish()
            let response = try await solving.value
            #expect(response == ["made": "yes"])
        }
    }

    @Test func `a call that is not done when the grace is over ends`() async throws {
        // Never finished: only cancellation ends the frontend.
        let (backend, release) = Self.heldBackend()
        defer { release.finish() }
        try await Harness.run(backend) { harness in
            let solving = Task { try await Self.solve(harness) }
            #expect(await eventually { backend.builds.first?.calls == ["frontend dockerfile.v0"] })
            harness.server.stop(grace: .milliseconds(10))
            await #expect(throws: RPCError.self) { try await solving.value }
        }
    }

    private static func solve(_ harness: Harness) async throws -> [String: String] {
        try await harness.control.solve(
            .with {
                $0.ref = "held"
                $0.frontend = "dockerfile.v0"
            }
        ).exporterResponse
    }

    private static func acceptsConnections(_ path: String) -> Bool {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
    }
}
