internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore

/// Hands a context that came on standard input to the node (`Upload.Pull`).
struct UploadService: Moby_Upload_V1_Upload.ServiceProtocol {
    private static let pieceBytes = 1 << 20

    /// Bodies by path, such as `/ID`.
    let uploads: [String: [UInt8]]

    func pull(
        request: StreamingServerRequest<Moby_Upload_V1_BytesMessage>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Upload_V1_BytesMessage> {
        let path = request.metadata.values("urlpath").first ?? ""
        guard let body = uploads[path] else {
            throw RPCError(code: .notFound, message: "no upload at \(path)")
        }
        return StreamingServerResponse { writer in
            for start in stride(from: 0, to: body.count, by: Self.pieceBytes) {
                var message = Moby_Upload_V1_BytesMessage()
                message.data = Data(body[start..<min(body.count, start + Self.pieceBytes)])
                try await writer.write(message)
            }
            return [:]
        }
    }
}
