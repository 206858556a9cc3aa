import BuildSession
import ClusterModel
import Foundation
import Glibc
import OCI
import Snapshots
import Testing

@testable import PeerRuntime

/// What of a client's directory is kept for its next builds.
@Suite struct LocalSourcesTests {
    private typealias Sync = DirectorySession.Sync

    /// Runs `body` with sources over a store of their own and a client's directory of three files.
    private static func with(
        _ body: (_ sources: LocalSources, _ snapshots: SnapshotStore, _ directory: String) async throws -> Void
    ) async throws {
        let root = NSTemporaryDirectory() + "peerbuild-sources-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        let directory = root + "/client"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for name in ["ignored", "large", "small"] {
            try Data(name.utf8).write(to: URL(fileURLWithPath: directory + "/" + name))
        }
        let snapshots = try SnapshotStore(root: root + "/snapshots")
        let sources = try LocalSources(root: root + "/contexts", snapshots: snapshots)
        try await body(sources, snapshots, directory)
    }

    private static func client(of directory: String, sharedKey: String) -> DirectorySession {
        DirectorySession(id: UUID().uuidString, directory: directory, sharedKey: sharedKey)
    }

    private static func tree(
        _ sources: LocalSources, _ session: DirectorySession, _ patterns: [String], name: String = "context"
    ) async throws -> LayerChain {
        let request = DirectoryRequest(name: name, includePatterns: patterns)
        return try await sources.tree(request, hint: name, session: session) { _ in }
    }

    private static func names(in tree: LayerChain, _ snapshots: SnapshotStore) throws -> Set<String> {
        var names: Set<String> = []
        for layer in tree.layers {
            names.formUnion(try FileManager.default.contentsOfDirectory(atPath: snapshots.contentPath(of: layer.id)))
        }
        return names
    }

    @Test func `new patterns begin with what came under others, and show only what they select`() async throws {
        try await Self.with { sources, snapshots, directory in
            let client = Self.client(of: directory, sharedKey: "key")
            let first = try await Self.tree(sources, client, ["ignored", "large"])
            let second = try await Self.tree(sources, client, ["large", "small"])
            #expect(client.syncs.last == Sync(found: ["ignored", "large"], sent: ["small"]))
            #expect(try Self.names(in: second, snapshots) == ["large", "small"])
            #expect(try Self.names(in: first, snapshots) == ["ignored", "large"])
            // The tree of the first patterns is as it was.
            #expect(try await Self.tree(sources, client, ["ignored", "large"]) == first)
            #expect(client.syncs.last == Sync(found: ["ignored", "large"], sent: []))
        }
    }

    @Test func `new patterns begin with what was used last`() async throws {
        try await Self.with { sources, _, directory in
            let client = Self.client(of: directory, sharedKey: "key")
            for patterns in [["ignored"], ["large"], ["ignored"], ["small"]] {
                _ = try await Self.tree(sources, client, patterns)
            }
            #expect(client.syncs.last == Sync(found: ["ignored"], sent: ["small"]))
        }
    }

    @Test func `what a client sent is not there under another key or name, nor without a key`() async throws {
        try await Self.with { sources, _, directory in
            let client = Self.client(of: directory, sharedKey: "key")
            _ = try await Self.tree(sources, client, ["large"])
            _ = try await Self.tree(sources, client, ["large", "small"], name: "other")
            #expect(client.syncs.last == Sync(found: [], sent: ["large", "small"]))
            for key in ["another", ""] {
                let stranger = Self.client(of: directory, sharedKey: key)
                _ = try await Self.tree(sources, stranger, ["large"])
                _ = try await Self.tree(sources, stranger, ["large", "small"])
                #expect(stranger.syncs.first == Sync(found: [], sent: ["large"]))
                let isKept = !key.isEmpty
                #expect(
                    stranger.syncs.last
                        == Sync(found: isKept ? ["large"] : [], sent: isKept ? ["small"] : ["large", "small"]))
            }
        }
    }

    private static func inode(_ path: String) -> UInt? {
        var status = stat()
        return lstat(path, &status) == 0 ? UInt(status.st_ino) : nil
    }

    @Test func `a tree of links shares files and symbolic links, and no directories`() throws {
        let root = NSTemporaryDirectory() + "peerbuild-links-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        let files = FileManager.default
        try files.createDirectory(atPath: root + "/from/deep/er", withIntermediateDirectories: true)
        try files.createDirectory(atPath: root + "/to", withIntermediateDirectories: true)
        try Data("text".utf8).write(to: URL(fileURLWithPath: root + "/from/deep/er/file"))
        try files.createSymbolicLink(atPath: root + "/from/up", withDestinationPath: root)
        TreeLinks.make(of: root + "/from", in: root + "/to")
        for (name, isShared) in [("deep", false), ("deep/er", false), ("deep/er/file", true), ("up", true)] {
            let inodes = ["from", "to"].map { Self.inode(root + "/" + $0 + "/" + name) }
            #expect((inodes[0] == inodes[1]) == isShared && inodes[1] != nil, "\(name)")
        }
        #expect(try files.contentsOfDirectory(atPath: root + "/to").sorted() == ["deep", "up"])
        #expect(try files.destinationOfSymbolicLink(atPath: root + "/to/up") == root)
    }
}
