import BuildKitProtocol
import Foundation
import GRPCCore
import LLB
import PeerRuntime
import SwiftProtobuf
import Testing

@testable import BuildKitAPI

struct FailureTests {
    private static func failure(lines: Int, at line: Int32, width: Int = 40) -> BuildError {
        let text = (1...lines).map { "RUN \($0) " + String(repeating: "x", count: width) }.joined(separator: "\n")
        var error = BuildError("it failed", exitCode: 1)
        error.sources = [
            .init(
                info: .with {
                    $0.filename = "Dockerfile"
                    $0.data = Data(text.utf8)
                },
                ranges: [
                    .with {
                        $0.start.line = line
                        $0.end.line = line
                    }
                ])
        ]
        return error
    }

    @Test(arguments: [1, 50, 400, 3000, 100_000])
    func `trailers stay below one frame whatever the Dockerfile, and short ones keep their lines`(lines: Int) throws {
        let error = BuildFailure.rpcError(for: Self.failure(lines: lines, at: Int32(max(1, lines - 5))))
        let encoded = error.metadata.reduce(error.message.utf8.count) {
            $0 + $1.key.utf8.count + $1.value.encoded().utf8.count
        }
        #expect(encoded < 16 << 10)
        let bytes = try #require(error.metadata[binaryValues: "grpc-status-details-bin"].first { _ in true })
        let status = try Google_Rpc_Status(serializedBytes: bytes)
        #expect(status.code == 2)
        #expect(status.details.contains { $0.typeURL == BuildFailure.exitType })
        let source = status.details.first { $0.typeURL == BuildFailure.sourceType }
        #expect((source != nil) == (lines <= 3000))
        guard let source else { return }
        let json = try #require(try JSONSerialization.jsonObject(with: source.value) as? [String: Any])
        let info = try #require(json["info"] as? [String: Any])
        let data = try #require((info["data"] as? String).flatMap { Data(base64Encoded: $0) })
        let kept = String(decoding: data, as: UTF8.self).components(separatedBy: "\n")
        #expect(kept[max(1, lines - 5) - 1].hasPrefix("RUN \(max(1, lines - 5)) x"))
    }

    @Test func `a message of any length and script fits`() {
        let error = BuildFailure.rpcError(for: BuildError(String(repeating: "ß", count: 50_000)))
        #expect(error.message.utf8.count <= BuildFailure.messageBytesMax + 8)
        #expect(error.code == .unknown)
    }

    @Test func `what the client returned is cut as well`() {
        let status = Google_Rpc_Status.with {
            $0.code = 2
            $0.message = "no"
            $0.details = [.with { $0.value = Data(count: 20_000) }, .with { $0.typeURL = "small" }]
        }
        let error = BuildFailure.rpcError(for: ReturnedError(status: status))
        let kept = error.metadata[binaryValues: "grpc-status-details-bin"].first { _ in true }
            .flatMap { try? Google_Rpc_Status(serializedBytes: $0) }
        #expect(kept?.details.map(\.typeURL) == ["small"])
    }

    @Test func `errors of the session and of cancellation have the codes that clients expect`() {
        #expect(BuildFailure.rpcError(for: RPCError(code: .notFound, message: "x")).code == .unknown)
        #expect(BuildFailure.rpcError(for: CancellationError()).code == .cancelled)
        var cancelled = BuildError("context canceled")
        cancelled.isCancelled = true
        #expect(BuildFailure.rpcError(for: cancelled).code == .cancelled)
    }
}
