internal import BuildKitProtocol
internal import BuildSession
internal import FileSync
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf

/// Files that come from the client and files that go to it.
extension TunneledSession {
    /// Bytes of a file that one message carries.
    private static var pieceBytesMax: Int { 64 << 10 }

    func receiveDirectory(
        _ request: DirectoryRequest, into directory: String, progress: @escaping @Sendable (Int64) -> Void
    ) async throws -> DirectoryChanges {
        guard serves(Self.diffCopy) else { throw SessionError.notServed(method: Self.diffCopy) }
        let receiver = DirectoryReceiver(
            root: directory, comparison: request.comparison == .none ? .none : .metadata)
        do {
            // The client says FIN last; what becomes of the stream after that does not matter.
            let outcome = try await DuplexCall<Fsutil_Types_Packet, Fsutil_Types_Packet>.run(
                Moby_Filesync_V1_FileSync.Method.DiffCopy.descriptor, on: self,
                metadata: SyncMetadata.of(request), needsStatus: false
            ) { call in
                try await receiver.run(packets: call.answers, send: { try await call.send($0) }, progress: progress)
            }
            return DirectoryChanges(entries: outcome.entries, bytes: outcome.bytes)
        } catch {
            throw meaning(of: error)
        }
    }

    func sendFile(
        exporter index: Int, metadata: [String: String],
        _ write: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws {
        typealias Call = DuplexCall<Moby_Filesync_V1_BytesMessage, Moby_Filesync_V1_BytesMessage>
        do {
            try await Call.run(
                Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor, on: self,
                metadata: SyncMetadata.of(exporter: index, metadata)
            ) { call in
                try await write(
                    PieceSink(pieceBytesMax: Self.pieceBytesMax) { piece in
                        try await call.send(.with { $0.data = Data(piece) })
                    })
            }
        } catch let error as RPCError where error.code == .alreadyExists {
            // The client has the file and wants no more of it.
        } catch {
            throw meaning(of: error)
        }
    }

    func sendDirectory(
        exporter index: Int, metadata: [String: String], from directory: String,
        progress: @escaping @Sendable (Int64) -> Void
    ) async throws {
        let sender = DirectorySender(root: directory)
        do {
            // Same method as `sendFile`, other messages: the client knows which by its exporter. It may answer the end
            // of the call with a cancellation, after everything has arrived.
            try await DuplexCall<Fsutil_Types_Packet, Fsutil_Types_Packet>.run(
                Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor, on: self,
                metadata: SyncMetadata.of(exporter: index, metadata), needsStatus: false
            ) { call in
                try await sender.run(packets: call.answers, send: { try await call.send($0) }, progress: progress)
            }
        } catch {
            throw meaning(of: error)
        }
    }
}
