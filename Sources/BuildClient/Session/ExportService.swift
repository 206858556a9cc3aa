internal import BuildKitProtocol
internal import FileSync
internal import Foundation
internal import GRPCCore
internal import Glibc
internal import SwiftProtobuf

/// Takes what exporters write on this side (`FileSend.DiffCopy`).
///
/// One method carries two message types: bytes of a file, or packets of a tree. Which one follows from the exporter, so
/// it is registered with raw messages.
struct ExportService: RegistrableRPCService {
    let exporters: [BuildRequest.Exporter]

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor, deserializer: RawMessages(),
            serializer: RawMessages()
        ) { request, _ in try response(to: request) }
    }

    private func response(to request: StreamingServerRequest<[UInt8]>) throws -> StreamingServerResponse<[UInt8]> {
        let id = request.metadata.values("buildkit-attachable-exporter-id").first ?? "0"
        guard let index = Int(id), exporters.indices.contains(index) else {
            throw RPCError(code: .notFound, message: "no exporter \(id)")
        }
        let exporter = exporters[index]
        return StreamingServerResponse { writer in
            do {
                try await receive(request.messages, for: exporter, writer)
            } catch let error as RPCError {
                throw error
            } catch {
                throw RPCError(code: .unknown, message: "\(error)")
            }
            return [:]
        }
    }

    private func receive(
        _ messages: RPCAsyncSequence<[UInt8], any Error>, for exporter: BuildRequest.Exporter,
        _ writer: RPCWriter<[UInt8]>
    ) async throws {
        switch exporter.target {
        case .none: throw RPCError(code: .notFound, message: "exporter \(exporter.type) has no destination here")
        case .directory(let path):
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            let receiver = DirectoryReceiver(
                root: path, merging: exporter.attributes["mode"] != "delete",
                ownership: .fixed(uid: getuid(), gid: getgid()))
            let packets = messages.map { try Fsutil_Types_Packet(serializedBytes: $0) }
            _ = try await receiver.run(packets: packets) { try await writer.write($0.serializedBytes()) }
        case .file(let path): try await write(messages, to: ReplacedFile(path))
        case .standardOutput: try await write(messages, to: StandardOutput())
        case .dockerEngine: try await write(messages, to: DockerLoad())
        }
    }

    private func write(_ messages: RPCAsyncSequence<[UInt8], any Error>, to output: some ExportOutput) async throws {
        for try await message in messages {
            try output.write(Moby_Filesync_V1_BytesMessage(serializedBytes: message).data)
        }
        try output.finish()
    }
}

/// Messages as they are on the wire.
struct RawMessages: MessageSerializer, MessageDeserializer {
    func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes { Bytes(message) }
    func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] {
        bytes.withUnsafeBytes { Array($0) }
    }
}
