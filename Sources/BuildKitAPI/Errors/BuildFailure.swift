internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore
internal import LLB
internal import OCI
internal import PeerRuntime
internal import SwiftProtobuf

/// A failed build as BuildKit's clients read it: a status with JSON details, small enough for one header frame.
///
/// The transport writes trailers as one HEADERS frame, and Go's clients take frames of 16 KiB; a larger block would end
/// the connection. So details are added while there is room, and a Dockerfile is sent without what its excerpt hides.
enum BuildFailure {
    /// What the trailers may hold after encoding, with room for the transport's own headers.
    static let trailerBytesMax = 15 << 10
    /// Longest message in bytes of UTF-8.
    static let messageBytesMax = 2 << 10
    /// Lines that clients print around the failed ones.
    static let contextLines = 4

    static let vertexType = "github.com/moby/buildkit/errdefs.Vertex+json"
    static let sourceType = "github.com/moby/buildkit/errdefs.Source+json"
    static let exitType = "github.com/moby/buildkit/gatewayapi.ExitMessage+json"

    /// The status that a client is told for an error of a build.
    static func status(of error: any Error) -> Google_Rpc_Status {
        switch error {
        case let error as ReturnedError: error.status
        case let error as BuildError: status(of: error)
        case is CancellationError: status(code: .cancelled, "context canceled")
        // `Unknown` is the code of failed builds: clients print the name of any other, and act on some.
        case let error as RPCError: status(code: .unknown, error.message)
        default: status(code: .unknown, "\(error)")
        }
    }

    /// The error that carries a status in the trailers of an RPC, cut to what they may hold.
    static func rpcError(_ status: Google_Rpc_Status) -> RPCError {
        var status = status
        status.message = cut(status.message)
        var room = detailBytesMax(besideMessage: status.message)
        let offered = status.details
        status.details = []
        room -= bytes(of: status)
        for detail in offered {
            // Tag and length come before each detail.
            let bytes = bytes(of: detail) + 6
            guard bytes <= room else { continue }
            room -= bytes
            status.details.append(detail)
        }
        let code = Status.Code(rawValue: Int(status.code)).flatMap { RPCError.Code($0) } ?? .unknown
        var metadata = Metadata()
        if !status.details.isEmpty, let bytes: [UInt8] = try? status.serializedBytes() {
            metadata.addBinary(bytes, forKey: "grpc-status-details-bin")
        }
        return RPCError(code: code, message: status.message, metadata: metadata)
    }

    static func rpcError(for error: any Error) -> RPCError { rpcError(status(of: error)) }

    /// Runs what may fail as a build does, and throws its failure as clients understand it.
    static func translated<Value>(_ body: () async throws -> Value) async throws(RPCError) -> Value {
        do { return try await body() } catch { throw rpcError(for: error) }
    }

    private static func status(of error: BuildError) -> Google_Rpc_Status {
        var status = status(code: error.isCancelled ? .cancelled : .unknown, error.message)
        if let exitCode = error.exitCode {
            status.details.append(detail(exitType, ExitDetail(Code: UInt32(bitPattern: exitCode))))
        }
        if let vertex = error.vertex {
            status.details.append(detail(vertexType, VertexDetail(digest: vertex.description)))
        }
        for source in error.sources { status.details.append(sourceDetail(source)) }
        return status
    }

    private static func status(code: RPCError.Code, _ message: String) -> Google_Rpc_Status {
        .with {
            $0.code = Int32(code.rawValue)
            $0.message = message
        }
    }

    /// The details' type URLs have no host and their values are JSON: that is BuildKit's own convention.
    private static func detail(_ type: String, _ value: some Encodable) -> Google_Protobuf_Any {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return .with {
            $0.typeURL = type
            // Only a value without a JSON form could fail, and the three below have one.
            $0.value = (try? encoder.encode(value)) ?? Data("{}".utf8)
        }
    }

    private static func sourceDetail(_ source: BuildError.SourceLocation) -> Google_Protobuf_Any {
        let lines = source.ranges.flatMap { [$0.start.line, $0.end.line] }
        let excerpt = SourceExcerpt.of(
            source.info.data, first: Int(lines.min() ?? 0), last: Int(lines.max() ?? 0), context: contextLines)
        return detail(
            sourceType,
            SourceDetail(
                info: .init(filename: source.info.filename, data: excerpt, language: source.info.language),
                ranges: source.ranges.map { range in
                    .init(start: .init(range.start), end: .init(range.end))
                }))
    }

    private static func bytes(of message: some SwiftProtobuf.Message) -> Int {
        let bytes: [UInt8]? = try? message.serializedBytes()
        // What can't be written has no room at all.
        return bytes?.count ?? trailerBytesMax
    }

    private static func cut(_ message: String) -> String {
        guard message.utf8.count > messageBytesMax else { return message }
        let mark = " [...] "
        let half = (messageBytesMax - mark.utf8.count) / 2
        return String(decoding: message.utf8.prefix(half), as: UTF8.self) + mark
            + String(decoding: message.utf8.suffix(half), as: UTF8.self)
    }

    /// Bytes of a serialised status whose base64 form fits beside the percent-encoded message.
    private static func detailBytesMax(besideMessage message: String) -> Int {
        let encoded = message.utf8.reduce(0) { $0 + ((0x20...0x7E).contains($1) && $1 != 0x25 ? 1 : 3) }
        return (trailerBytesMax - encoded) / 4 * 3
    }
}

/// An error that a client gave back with `Return`; it comes out of its `Solve` as it is.
struct ReturnedError: Error {
    var status: Google_Rpc_Status
}

/// `gatewayapi.ExitMessage`, with the names of its Go fields.
private struct ExitDetail: Encodable {
    // swift-format-ignore: AlwaysUseLowerCamelCase
    var Code: UInt32
}

/// `errdefs.Vertex`.
private struct VertexDetail: Encodable {
    var digest: String
}

/// `errdefs.Source`, without the definition, which clients don't print.
private struct SourceDetail: Encodable {
    var info: Info
    var ranges: [Range]

    struct Info: Encodable {
        var filename: String
        var data: Data
        var language: String
    }

    struct Range: Encodable {
        var start: Position
        var end: Position
    }

    struct Position: Encodable {
        var line: Int32
        var character: Int32?

        init(_ position: Pb_Position) {
            line = position.line
            character = position.character == 0 ? nil : position.character
        }
    }
}
