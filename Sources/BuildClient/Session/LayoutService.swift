internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore
internal import GRPCProtobuf
internal import OCI

/// Lends the blobs of OCI layout directories to the node (`Content.Info` and `Content.Read`).
struct LayoutService: RegistrableRPCService {
    /// Bytes of a blob in one message.
    private static let pieceBytes = 1 << 20

    private typealias Method = Containerd_Services_Content_V1_Content.Method

    /// Directories by store id, such as `oci:NAME` or `local:PATH`.
    let stores: [String: String]

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: Method.Info.descriptor,
            deserializer: ProtobufDeserializer<Containerd_Services_Content_V1_InfoRequest>(),
            serializer: ProtobufSerializer<Containerd_Services_Content_V1_InfoResponse>()
        ) { request, _ in
            let single = try await ServerRequest(stream: request)
            let file = try blob(single.message.digest, single.metadata)
            var response = Containerd_Services_Content_V1_InfoResponse()
            response.info.digest = single.message.digest
            response.info.size = Int64(try file.seekToEnd())
            return StreamingServerResponse(single: ServerResponse(message: response))
        }
        router.registerHandler(
            forMethod: Method.Read.descriptor,
            deserializer: ProtobufDeserializer<Containerd_Services_Content_V1_ReadContentRequest>(),
            serializer: ProtobufSerializer<Containerd_Services_Content_V1_ReadContentResponse>()
        ) { request, _ in
            let single = try await ServerRequest(stream: request)
            let (message, metadata) = (single.message, single.metadata)
            return StreamingServerResponse { writer in
                let file = try blob(message.digest, metadata)
                try file.seek(toOffset: UInt64(max(0, message.offset)))
                var rest = message.size > 0 ? message.size : Int64.max
                var offset = message.offset
                while rest > 0, let data = try file.read(upToCount: Int(min(rest, Int64(Self.pieceBytes)))),
                    !data.isEmpty
                {
                    var response = Containerd_Services_Content_V1_ReadContentResponse()
                    response.offset = offset
                    response.data = data
                    try await writer.write(response)
                    offset += Int64(data.count)
                    rest -= Int64(data.count)
                }
                return [:]
            }
        }
    }

    private func blob(_ digest: String, _ metadata: Metadata) throws -> FileHandle {
        let store = metadata.values("buildkit-attachable-store-id").first ?? ""
        guard let directory = stores[store] else {
            throw RPCError(code: .notFound, message: "content store \(store) is not offered")
        }
        guard let digest = Digest(digest),
            let file = FileHandle(forReadingAtPath: "\(directory)/blobs/sha256/\(digest.hex)")
        else { throw RPCError(code: .notFound, message: "content \(digest): not found") }
        return file
    }
}
