internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import PeerRuntime
internal import SwiftProtobuf

/// Reading of what a reference holds; each call executes what the reference needs.
extension GatewayService {
    func readFile(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadFileRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadFileResponse> {
        let message = request.message
        return try await serve(request, context) { build, handle in
            let range = try message.hasRange ? Self.range(message.range) : nil
            let bytes = try await handle.readFile(
                try build.borrowed(message.ref), path: message.filePath, range: range)
            guard bytes.count < APIServer.messageBytesMax else {
                throw BuildError(
                    "\(message.filePath) has \(bytes.count) bytes, more than a message takes; read it in ranges")
            }
            return .with { $0.data = Data(bytes) }
        }
    }

    func readDir(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadDirRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadDirResponse> {
        let message = request.message
        return try await serve(request, context) { build, handle in
            let entries = try await handle.readDirectory(
                try build.borrowed(message.ref), path: message.dirPath,
                pattern: message.includePattern.isEmpty ? nil : message.includePattern)
            return .with { $0.entries = entries.map(StatMessage.stat) }
        }
    }

    func statFile(
        request: ServerRequest<Moby_Buildkit_V1_Frontend_StatFileRequest>, context: ServerContext
    ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_StatFileResponse> {
        let message = request.message
        return try await serve(request, context) { build, handle in
            let stat = try await handle.stat(try build.borrowed(message.ref), path: message.path)
            return .with { $0.stat = StatMessage.stat(stat) }
        }
    }

    private static func range(_ message: Moby_Buildkit_V1_Frontend_FileRange) throws -> Range<Int64> {
        let (end, overflow) = message.offset.addingReportingOverflow(message.length)
        guard message.offset >= 0, message.length >= 0, !overflow else {
            throw BuildError("the range of \(message.length) bytes at \(message.offset) is not valid")
        }
        return message.offset..<end
    }
}
