internal import BuildSession
internal import OCI

/// Stands for a session that a build names but whose client never opened it: builds that need none still work.
final class MissingSession: ClientSession {
    let id: String
    let sharedKey = ""

    init(id: String) { self.id = id }

    private var error: SessionError { .missing(id: id) }

    func serves(_ method: String) -> Bool { false }
    func secret(_ id: String) async throws -> [UInt8]? { throw error }
    func credentials(forHost host: String) async throws -> RegistryCredentials? { nil }
    func connectSSHAgent(_ id: String) async throws -> any ByteDuplex { throw error }
    func hasSSHAgent(_ id: String) async throws -> Bool { throw error }

    func receiveDirectory(
        _ request: DirectoryRequest, into directory: String, progress: @escaping @Sendable (Int64) -> Void
    ) async throws -> DirectoryChanges { throw error }

    func sendFile(
        exporter index: Int, metadata: [String: String],
        _ write: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws { throw error }

    func sendDirectory(
        exporter index: Int, metadata: [String: String], from directory: String,
        progress: @escaping @Sendable (Int64) -> Void
    ) async throws { throw error }

    func contentStore(_ store: String) -> any SessionContentStore { MissingStore(error: error) }

    func openUpload(path: String, _ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws {
        throw error
    }

    func waitUntilClosed() async {}
}

/// A content store of a session that never came.
private struct MissingStore: SessionContentStore {
    let error: SessionError

    func size(of digest: Digest) async throws -> Int64? { throw error }

    func read(
        _ digest: Digest, from offset: Int64, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws { throw error }

    func write(
        _ digest: Digest, size: Int64, name: String, _ body: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws { throw error }
}
