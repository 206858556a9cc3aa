internal import BuildKitProtocol
internal import FileSync
internal import GRPCCore

/// Lets the node read the build's local sources (`FileSync.DiffCopy`).
struct DirectoryService: Moby_Filesync_V1_FileSync.ServiceProtocol {
    /// Directories by the name of their source.
    let directories: [String: String]

    func diffCopy(
        request: StreamingServerRequest<Fsutil_Types_Packet>, context: ServerContext
    ) async throws -> StreamingServerResponse<Fsutil_Types_Packet> {
        let metadata = request.metadata
        let name = metadata.values("dir-name").first ?? ""
        guard let directory = directories[name] else {
            throw RPCError(code: .notFound, message: "no access allowed to dir \"\(name)\"")
        }
        let sender = DirectorySender(
            root: directory, include: metadata.values("include-patterns"),
            exclude: metadata.values("exclude-patterns"), followPaths: metadata.values("followpaths"),
            resetsOwner: true)
        return StreamingServerResponse { writer in
            do {
                try await sender.run(packets: request.messages) { try await writer.write($0) }
            } catch let error as FileSyncError {
                throw RPCError(code: .unknown, message: error.description)
            }
            return [:]
        }
    }

    func tarStream(
        request: StreamingServerRequest<Fsutil_Types_Packet>, context: ServerContext
    ) async throws -> StreamingServerResponse<Fsutil_Types_Packet> {
        throw RPCError(code: .unimplemented, message: "TarStream is not offered; use DiffCopy")
    }
}

extension Metadata {
    /// All values of a header; those marked by `NAME-encoded: 1` are URL query escaped.
    func values(_ name: String) -> [String] {
        let values = Array(self[stringValues: name])
        guard self[stringValues: name + "-encoded"].contains("1") else { return values }
        return values.map(Self.unescaped)
    }

    private static func unescaped(_ text: String) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "+") {
                bytes.append(UInt8(ascii: " "))
            } else if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
