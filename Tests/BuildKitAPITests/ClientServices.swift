import BuildKitProtocol
import FileSync
import Foundation
import GRPCCore
import OCI
import SwiftProtobuf
import Synchronization

/// Secrets and credentials of a client.
struct Keeper: RegistrableRPCService {
    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        Secrets().registerMethods(with: &router)
        Auth().registerMethods(with: &router)
    }

    struct Secrets: Moby_Buildkit_Secrets_V1_Secrets.SimpleServiceProtocol {
        func getSecret(
            request: Moby_Buildkit_Secrets_V1_GetSecretRequest, context: ServerContext
        ) async throws -> Moby_Buildkit_Secrets_V1_GetSecretResponse {
            if request.id == "never" { try await context.cancellation.cancelled }
            guard request.id == "token" else { throw RPCError(code: .notFound, message: "no \(request.id)") }
            return .with { $0.data = Data("s3cret".utf8) }
        }
    }

    struct Auth: Moby_Filesync_V1_Auth.SimpleServiceProtocol {
        func credentials(
            request: Moby_Filesync_V1_CredentialsRequest, context: ServerContext
        ) async throws -> Moby_Filesync_V1_CredentialsResponse {
            guard request.host != "anonymous" else { return .init() }
            return .with {
                $0.username = "u"
                $0.secret = request.host
            }
        }

        func fetchToken(
            request: Moby_Filesync_V1_FetchTokenRequest, context: ServerContext
        ) async throws -> Moby_Filesync_V1_FetchTokenResponse { throw RPCError(code: .unimplemented, message: "") }

        func getTokenAuthority(
            request: Moby_Filesync_V1_GetTokenAuthorityRequest, context: ServerContext
        ) async throws -> Moby_Filesync_V1_GetTokenAuthorityResponse {
            throw RPCError(code: .unimplemented, message: "")
        }

        func verifyTokenAuthority(
            request: Moby_Filesync_V1_VerifyTokenAuthorityRequest, context: ServerContext
        ) async throws -> Moby_Filesync_V1_VerifyTokenAuthorityResponse {
            throw RPCError(code: .unimplemented, message: "")
        }
    }
}

/// An agent that answers, after the half-close, with its name and the question backwards.
struct Agent: Moby_Sshforward_V1_SSH.StreamingServiceProtocol {
    func checkAgent(
        request: StreamingServerRequest<Moby_Sshforward_V1_CheckAgentRequest>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Sshforward_V1_CheckAgentResponse> {
        for try await message in request.messages where message.id != "default" {
            throw RPCError(code: .notFound, message: "unset ssh forward key \(message.id)")
        }
        return StreamingServerResponse { writer in
            try await writer.write(.init())
            return [:]
        }
    }

    func forwardAgent(
        request: StreamingServerRequest<Moby_Sshforward_V1_BytesMessage>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Sshforward_V1_BytesMessage> {
        let name = request.metadata[stringValues: "buildkit.ssh.id"].first { _ in true } ?? ""
        var question = Data()
        for try await message in request.messages { question += message.data }
        let answer = Data((name + ":").utf8) + Data(question.reversed())
        return StreamingServerResponse { writer in
            try await writer.write(.with { $0.data = answer })
            return [:]
        }
    }
}

/// A client that takes an exporter's file.
final class FileTaker: Moby_Filesync_V1_FileSend.StreamingServiceProtocol {
    private let state = Mutex((bytes: [UInt8](), headers: [String]()))
    var bytes: [UInt8] { state.withLock { $0.bytes } }
    var headers: [String] { state.withLock { $0.headers } }

    func diffCopy(
        request: StreamingServerRequest<Moby_Filesync_V1_BytesMessage>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Filesync_V1_BytesMessage> {
        let id = request.metadata[stringValues: "buildkit-attachable-exporter-id"].first { _ in true } ?? ""
        if id == "9" { throw RPCError(code: .alreadyExists, message: "have it") }
        if id == "8" { throw RPCError(code: .unknown, message: "disk full") }
        let digest = request.metadata[stringValues: "exporter-md-containerimage.digest"].first { _ in true }
        var bytes: [UInt8] = []
        for try await message in request.messages { bytes += message.data }
        if let digest {
            state.withLock { $0 = (bytes, [id, digest]) }
        }
        return StreamingServerResponse { _ in [:] }
    }
}

/// A client's content store.
final class BlobStore: Containerd_Services_Content_V1_Content.SimpleServiceProtocol {
    private typealias Request = Containerd_Services_Content_V1_WriteContentRequest
    private let state = Mutex((blobs: [String: Data](), stores: Set<String>()))
    var stores: Set<String> { state.withLock { $0.stores } }

    func info(
        request: Containerd_Services_Content_V1_InfoRequest, context: ServerContext
    ) async throws -> Containerd_Services_Content_V1_InfoResponse {
        guard let blob = state.withLock({ $0.blobs[request.digest] }) else {
            throw RPCError(code: .notFound, message: "content \(request.digest): not found")
        }
        return .with { $0.info.size = Int64(blob.count) }
    }

    func read(
        request: Containerd_Services_Content_V1_ReadContentRequest,
        response: RPCWriter<Containerd_Services_Content_V1_ReadContentResponse>, context: ServerContext
    ) async throws {
        let blob = state.withLock { $0.blobs[request.digest] } ?? Data()
        var offset = Int(request.offset)
        while offset < blob.count {
            let piece = blob[offset..<min(blob.count, offset + (1 << 20))]
            try await response.write(.with { $0.data = Data(piece) })
            offset += piece.count
        }
    }

    func write(
        request: RPCAsyncSequence<Containerd_Services_Content_V1_WriteContentRequest, any Error>,
        response: RPCWriter<Containerd_Services_Content_V1_WriteContentResponse>, context: ServerContext
    ) async throws {
        state.withLock { _ = $0.stores.insert("export") }
        var blob = Data()
        for try await message in request {
            if state.withLock({ $0.blobs[message.expected] }) != nil, message.action == .stat {
                throw RPCError(code: .alreadyExists, message: "have it")
            }
            if message.action == .write {
                guard Int(message.offset) == blob.count else { throw RPCError(code: .outOfRange, message: "offset") }
                blob += message.data
            }
            let offset = Int64(blob.count)
            try await response.write(
                .with {
                    $0.action = message.action
                    $0.offset = offset
                })
            guard message.action == .commit else { continue }
            let whole = blob
            guard Digest.of(whole).description == message.expected else {
                throw RPCError(code: .failedPrecondition, message: "unexpected digest")
            }
            state.withLock { $0.blobs[message.expected] = whole }
            // Go's clients answer a commit twice.
            try await response.write(.with { $0.action = .commit })
        }
    }

    private static var refused: RPCError { RPCError(code: .unimplemented, message: "") }

    func update(
        request: Containerd_Services_Content_V1_UpdateRequest, context: ServerContext
    ) async throws -> Containerd_Services_Content_V1_UpdateResponse { throw Self.refused }
    func list(
        request: Containerd_Services_Content_V1_ListContentRequest,
        response: RPCWriter<Containerd_Services_Content_V1_ListContentResponse>, context: ServerContext
    ) async throws { throw Self.refused }
    func delete(
        request: Containerd_Services_Content_V1_DeleteContentRequest, context: ServerContext
    ) async throws -> Google_Protobuf_Empty { throw Self.refused }
    func status(
        request: Containerd_Services_Content_V1_StatusRequest, context: ServerContext
    ) async throws -> Containerd_Services_Content_V1_StatusResponse { throw Self.refused }
    func listStatuses(
        request: Containerd_Services_Content_V1_ListStatusesRequest, context: ServerContext
    ) async throws -> Containerd_Services_Content_V1_ListStatusesResponse { throw Self.refused }
    func abort(
        request: Containerd_Services_Content_V1_AbortRequest, context: ServerContext
    ) async throws -> Google_Protobuf_Empty { throw Self.refused }
}

/// A client's upload: its headers and a body.
struct Uploader: Moby_Upload_V1_Upload.StreamingServiceProtocol {
    func pull(
        request: StreamingServerRequest<Moby_Upload_V1_BytesMessage>, context: ServerContext
    ) async throws -> StreamingServerResponse<Moby_Upload_V1_BytesMessage> {
        let path = request.metadata[stringValues: "urlpath"].first { _ in true } ?? ""
        let host = request.metadata[stringValues: "urlhost"].first { _ in true } ?? ""
        return StreamingServerResponse { writer in
            try await writer.write(.with { $0.data = Data((path + "@" + host).utf8) })
            for _ in 0..<7 { try await writer.write(.with { $0.data = Data(repeating: 1, count: 10_000) }) }
            return [:]
        }
    }
}

/// A client's directory, sent with the real sender.
final class DirectorySource: RegistrableRPCService, Moby_Filesync_V1_FileSync.StreamingServiceProtocol {
    private let root: String
    private let state = Mutex((names: [String](), includes: [[String]]()))
    var names: [String] { state.withLock { $0.names } }
    var includes: [[String]] { state.withLock { $0.includes } }

    init(root: String) { self.root = root }

    func diffCopy(
        request: StreamingServerRequest<Fsutil_Types_Packet>, context: ServerContext
    ) async throws -> StreamingServerResponse<Fsutil_Types_Packet> {
        let name = request.metadata[stringValues: "dir-name"].first { _ in true } ?? ""
        guard name == "context" else {
            throw RPCError(code: .notFound, message: "no access allowed to dir \"\(name)\"")
        }
        let isEncoded = request.metadata[stringValues: "include-patterns-encoded"].contains { $0 == "1" }
        let includes = request.metadata[stringValues: "include-patterns"].map { value in
            isEncoded ? value.replacing("+", with: " ").removingPercentEncoding ?? value : value
        }
        let excludes = Array(request.metadata[stringValues: "exclude-patterns"])
        state.withLock {
            $0.names.append(name)
            $0.includes.append(includes)
        }
        return StreamingServerResponse { writer in
            try await DirectorySender(root: self.root, include: includes, exclude: excludes, resetsOwner: true).run(
                packets: request.messages, send: { try await writer.write($0) })
            return [:]
        }
    }

    func tarStream(
        request: StreamingServerRequest<Fsutil_Types_Packet>, context: ServerContext
    ) async throws -> StreamingServerResponse<Fsutil_Types_Packet> { throw RPCError(code: .unimplemented, message: "") }
}

/// A client that takes a directory: the method of `FileSend` with the messages of `FileSync`.
struct DirectoryTaker: RegistrableRPCService {
    let root: String

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor, deserializer: PacketCoding(),
            serializer: PacketCoding()
        ) { request, _ in
            StreamingServerResponse { writer in
                _ = try await DirectoryReceiver(root: root, merging: true).run(
                    packets: request.messages, send: { try await writer.write($0) })
                return [:]
            }
        }
    }
}

struct PacketCoding: MessageSerializer, MessageDeserializer {
    func serialize<Bytes: GRPCContiguousBytes>(_ message: Fsutil_Types_Packet) throws -> Bytes {
        Bytes(try message.serializedBytes() as [UInt8])
    }

    func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> Fsutil_Types_Packet {
        try bytes.withUnsafeBytes { try Fsutil_Types_Packet(serializedBytes: Array($0)) }
    }
}
