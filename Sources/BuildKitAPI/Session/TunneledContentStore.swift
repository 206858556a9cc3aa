internal import BuildKitProtocol
internal import BuildSession
internal import FoundationEssentials
internal import GRPCCore
internal import OCI
internal import SwiftProtobuf
internal import Synchronization

/// One of the content stores that a client lends or fills.
struct TunneledContentStore: SessionContentStore {
    private typealias Content = Containerd_Services_Content_V1_Content
    private typealias WriteCall = DuplexCall<
        Containerd_Services_Content_V1_WriteContentRequest, Containerd_Services_Content_V1_WriteContentResponse
    >

    /// Bytes of a blob that one message carries.
    private static let pieceBytesMax = 1 << 20
    /// Pieces sent before the first of them must be acknowledged.
    private static let unacknowledgedMax = 4

    let store: String
    let session: TunneledSession

    private var metadata: Metadata { ["buildkit-attachable-store-id": .string(store)] }

    func size(of digest: Digest) async throws -> Int64? {
        do {
            let answer: Containerd_Services_Content_V1_InfoResponse = try await session.call(
                Content.Method.Info.descriptor,
                Containerd_Services_Content_V1_InfoRequest.with { $0.digest = digest.description }, metadata: metadata)
            guard answer.info.size >= 0 else {
                throw SessionError.badAnswer(method: "Content/Info", reason: "size \(answer.info.size)")
            }
            return answer.info.size
        } catch let error as RPCError where error.code == .notFound {
            return nil
        } catch {
            throw session.meaning(of: error)
        }
    }

    func read(
        _ digest: Digest, from offset: Int64, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        do {
            let request = Containerd_Services_Content_V1_ReadContentRequest.with {
                $0.digest = digest.description
                $0.offset = offset
            }
            try await session.callStreaming(Content.Method.Read.descriptor, request, metadata: metadata) {
                (answer: Containerd_Services_Content_V1_ReadContentResponse) in
                try await piece(Array(answer.data))
            }
        } catch {
            throw session.meaning(of: error)
        }
    }

    func write(
        _ digest: Digest, size: Int64, name: String, _ body: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws {
        do {
            try await WriteCall.run(
                Content.Method.Write.descriptor, on: session, metadata: metadata, needsStatus: false
            ) { call in
                try await send(digest, size: size, name: name, body, over: call)
            }
        } catch let error as RPCError where error.code == .alreadyExists {
            // The client has the blob.
        } catch {
            throw session.meaning(of: error)
        }
    }

    /// Announces the blob, writes it and waits until the client has committed it.
    private func send(
        _ digest: Digest, size: Int64, name: String, _ body: @Sendable (any ByteSink) async throws -> Void,
        over call: WriteCall
    ) async throws {
        let announcement = Containerd_Services_Content_V1_WriteContentRequest.with {
            $0.action = .stat
            $0.ref = name
            $0.total = size
            $0.expected = digest.description
        }
        try await call.send(announcement)
        try await Self.expectAnswer(call)
        let progress = WriteProgress()
        try await body(
            PieceSink(pieceBytesMax: Self.pieceBytesMax) { piece in
                if progress.unacknowledged == Self.unacknowledgedMax {
                    try await Self.expectAnswer(call)
                    progress.acknowledged()
                }
                try await call.send(
                    .with {
                        $0.action = .write
                        $0.ref = name
                        $0.total = size
                        $0.offset = progress.offset
                        $0.data = Data(piece)
                    })
                progress.sent(piece.count)
            })
        guard progress.offset == size else {
            throw SessionError.badAnswer(
                method: "Content/Write", reason: "\(digest) has \(progress.offset) bytes instead of \(size)")
        }
        var commit = announcement
        commit.action = .commit
        commit.offset = size
        try await call.send(commit)
        while try await Self.expectAnswer(call).action != .commit {}
    }

    @discardableResult
    private static func expectAnswer(
        _ call: WriteCall
    ) async throws -> Containerd_Services_Content_V1_WriteContentResponse {
        guard let answer = try await call.receive() else {
            throw SessionError.badAnswer(method: "Content/Write", reason: "it ended before the blob was committed")
        }
        return answer
    }
}

/// How far a blob has been written.
private final class WriteProgress: Sendable {
    private let state = Mutex((offset: Int64(0), unacknowledged: 0))

    var offset: Int64 { state.withLock { $0.offset } }
    var unacknowledged: Int { state.withLock { $0.unacknowledged } }

    func sent(_ bytes: Int) {
        state.withLock {
            $0.offset += Int64(bytes)
            $0.unacknowledged += 1
        }
    }

    func acknowledged() { state.withLock { $0.unacknowledged -= 1 } }
}

extension TunneledSession {
    func contentStore(_ store: String) -> any SessionContentStore {
        TunneledContentStore(store: store, session: self)
    }
}
