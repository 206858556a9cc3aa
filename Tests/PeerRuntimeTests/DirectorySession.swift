import BuildSession
import Foundation
import OCI

/// A client with one directory and some secrets, in this process.
final class DirectorySession: ClientSession {
    private struct NotServed: Error {}

    let id: String
    let sharedKey = ""
    private let directory: String
    private let secrets: [String: String]

    init(id: String, directory: String, secrets: [String: String] = [:]) {
        self.id = id
        self.directory = directory
        self.secrets = secrets
    }

    func secret(_ id: String) async throws -> [UInt8]? { secrets[id].map { Array($0.utf8) } }
    func credentials(forHost host: String) async throws -> RegistryCredentials? { nil }
    func connectSSHAgent(_ id: String) async throws -> any ByteDuplex { throw NotServed() }
    func hasSSHAgent(_ id: String) async throws -> Bool { false }
    func serves(_ method: String) -> Bool { true }

    func receiveDirectory(
        _ request: DirectoryRequest, into target: String, progress: @escaping @Sendable (Int64) -> Void
    ) async throws -> DirectoryChanges {
        let files = FileManager.default
        for name in try files.contentsOfDirectory(atPath: target) { try files.removeItem(atPath: target + "/" + name) }
        let names = try files.contentsOfDirectory(atPath: directory)
        for name in names { try files.copyItem(atPath: directory + "/" + name, toPath: target + "/" + name) }
        return DirectoryChanges(entries: names.count, bytes: 0)
    }

    func sendFile(
        exporter index: Int, metadata: [String: String],
        _ write: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws { throw NotServed() }

    func sendDirectory(
        exporter index: Int, metadata: [String: String], from directory: String,
        progress: @escaping @Sendable (Int64) -> Void
    ) async throws { throw NotServed() }

    func contentStore(_ store: String) -> any SessionContentStore { EmptyStore() }

    func openUpload(path: String, _ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws {
        throw NotServed()
    }

    func waitUntilClosed() async {}

    private struct EmptyStore: SessionContentStore {
        func size(of digest: Digest) async throws -> Int64? { nil }

        func read(
            _ digest: Digest, from offset: Int64, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
        ) async throws { throw NotServed() }

        func write(
            _ digest: Digest, size: Int64, name: String,
            _ body: @escaping @Sendable (any ByteSink) async throws -> Void
        ) async throws { throw NotServed() }
    }
}
