import BuildKitProtocol
import GRPCCore
import LLB
import OCI
import PeerRuntime
import SwiftProtobuf
import Testing

@testable import BuildKitAPI

@Suite(.timeLimit(.minutes(1)))
struct StatusTests {
    private static let vertex = Digest.of([1])

    private static func progress(started: Int64? = nil, completed: Int64? = nil) -> BuildEvent {
        var vertex = VertexProgress(digest: Self.vertex, inputs: [], name: "RUN x")
        vertex.started = started
        vertex.completed = completed
        return .vertex(vertex)
    }

    @Test func `status replays a finished build and closes what was left open`() async throws {
        let backend = RecordingBackend(
            .init(finish: { build, _ in
                build.emit(Self.progress())
                build.emit(Self.progress(started: 1_500_000_000))
                build.emit(.log(VertexLog(vertex: Self.vertex, timestamp: 2, stream: 1, bytes: Array("hi\n".utf8))))
                throw BuildError("stopped")
            }))
        try await Harness.run(backend) { harness in
            async let solved = harness.control.solve(
                .with {
                    $0.ref = "b1"
                    $0.definition.def = [.init([1])]
                })
            async let live = Self.responses(harness, "b1")
            do {
                _ = try await solved
                Issue.record("the build should fail")
            } catch let error as RPCError {
                #expect(error.message == "stopped")
            }
            for responses in [try await live, try await Self.responses(harness, "b1")] {
                let vertexes = responses.flatMap(\.vertexes)
                #expect(vertexes.map(\.hasStarted) == [false, true, true])
                #expect(vertexes.map(\.hasCompleted) == [false, false, true])
                #expect(vertexes.last?.error == "context canceled")
                #expect(vertexes.last?.started.seconds == 1)
                #expect(vertexes.last?.started.nanos == 500_000_000)
                #expect(responses.flatMap(\.logs).map(\.msg) == [.init("hi\n".utf8)])
            }
        }
    }

    @Test func `headers come before the build does`() async throws {
        try await Harness.run { harness in
            try await harness.control.status(.with { $0.ref = "late" }) { response in
                // Reached while nobody has called Solve; the time is in the headers.
                #expect(response.metadata[stringValues: "buildkit-current-timestamp"].contains { !$0.isEmpty })
                async let solved = harness.control.solve(
                    .with {
                        $0.ref = "late"
                        $0.definition.def = [.init([1])]
                    })
                for try await _ in response.messages {}
                _ = try await solved
            }
        }
    }

    @Test func `status of a build that never comes is NotFound`() async throws {
        try await Harness.run { harness in
            let error = await #expect(throws: RPCError.self) { _ = try await Self.responses(harness, "nobody") }
            #expect(error?.code == .notFound)
        }
    }

    @Test func `a batch keeps the last progress, every vertex state and all of the log in bounded messages`() {
        let bytes = [UInt8](repeating: 65, count: StatusBatch.logBytesMax + 10)
        let messages = StatusBatch.messages(of: [
            Self.progress(), Self.progress(started: 1), Self.progress(started: 1, completed: 2),
            .status(StatusProgress(id: "pull", vertex: Self.vertex, current: 1, total: 9, timestamp: 1)),
            .status(StatusProgress(id: "other", vertex: Self.vertex, timestamp: 1)),
            .status(StatusProgress(id: "pull", vertex: Self.vertex, current: 9, total: 9, timestamp: 2)),
            .log(VertexLog(vertex: Self.vertex, timestamp: 1, stream: 2, bytes: bytes)),
        ])
        #expect(messages.count == 2)
        #expect(messages[0].vertexes.count == 3)
        #expect(messages[0].statuses.map(\.id) == ["pull", "other"])
        #expect(messages[0].statuses.map(\.current) == [9, 0])
        #expect(messages.flatMap(\.logs).map(\.msg.count) == [StatusBatch.logBytesMax, 10])
    }

    static func responses(_ harness: Harness, _ reference: String) async throws -> [Moby_Buildkit_V1_StatusResponse] {
        try await harness.control.status(.with { $0.ref = reference }) { response in
            var all: [Moby_Buildkit_V1_StatusResponse] = []
            for try await message in response.messages { all.append(message) }
            return all
        }
    }
}
