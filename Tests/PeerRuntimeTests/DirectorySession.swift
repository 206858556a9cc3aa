import BuildSession
import Foundation
import OCI
import Synchronization

/// A client with one directory and some secrets, in this process.
final class DirectorySession: ClientSession {
    private struct NotServed: Error {}

    /// One sync of the directory, by names on its top level.
    struct Sync: Sendable, Equatable {
        /// What the receiver had before.
        var found: Set<String>
        var sent: Set<String>
    }

    let id: String
    let sharedKey: String
    private let directory: String
    private let secrets: [String: String]
    private let log = Mutex<[Sync]>([])

    /// All syncs so far, in their order.
    var syncs: [Sync] { log.withLock { $0 } }

    init(id: String, directory: String, secrets: [String: String] = [:], sharedKey: String = "") {
        self.id = id
        self.sharedKey = sharedKey
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
        let found = Set(try files.contentsOfDirectory(atPath: target))
        // Patterns are plain names here.
        let wanted = Set(try files.contentsOfDirectory(atPath: directory)).filter { name in
            request.includePatterns.isEmpty || request.includePatterns.contains(name)
        }
        let same = wanted.intersection(found).filter { name in
            request.comparison == .metadata
                && files.contentsEqual(atPath: directory + "/" + name, andPath: target + "/" + name)
        }
        let (stale, sent) = (found.subtracting(same), wanted.subtracting(same))
        for name in stale { try files.removeItem(atPath: target + "/" + name) }
        for name in sent { try files.copyItem(atPath: directory + "/" + name, toPath: target + "/" + name) }
        log.withLock { $0.append(Sync(found: found, sent: sent)) }
        return DirectoryChanges(entries: stale.union(sent).count, bytes: 0)
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
