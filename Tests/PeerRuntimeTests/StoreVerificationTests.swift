import Foundation
import OCI
import Testing

@testable import PeerRuntime

@Suite struct StoreVerificationTests {
    private static let whole = [UInt8](repeating: 1, count: 1_000_000)
    private static let damaged = [UInt8](repeating: 2, count: 2_000_000)

    /// Runs `body` on the root of a node with two blobs, one of which has another byte than it had.
    private func withRoot(_ body: (_ root: String, _ damaged: Digest, _ file: String) throws -> Void) throws {
        let root = FileManager.default.temporaryDirectory.path + "/peerbuild-verify-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: root) }
        let directory = root + "/content/blobs/sha256/"
        for path in [directory, root + "/content/ingest", root + "/snapshots"] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
        try Data(Self.whole).write(to: URL(fileURLWithPath: directory + Digest.of(Self.whole).hex))
        let digest = Digest.of(Self.damaged)
        var bytes = Self.damaged
        bytes[1_234_567] ^= 1
        try Data(bytes).write(to: URL(fileURLWithPath: directory + digest.hex))
        try body(root, digest, directory + digest.hex)
    }

    @Test func `a damaged blob is named with its file, and deleted only when that was asked for`() throws {
        try withRoot { root, digest, file in
            let store = try StoreVerification(root: root, settingAside: true)
            #expect(!store.isBesideNode)
            for isRepaired in [false, true] {
                #expect(FileManager.default.fileExists(atPath: file))
                let found = try store.blobs().compactMap { try store.verify(blob: $0, settingAside: isRepaired) }
                #expect(found.count == 2 && found.reduce(0) { $0 + $1.bytes } == 3_000_000)
                let lines = found.compactMap(\.damage)
                #expect(lines.count == 1 && lines.allSatisfy { $0.contains("\(digest): \(file): ") }, "\(lines)")
            }
            #expect(!FileManager.default.fileExists(atPath: file))
            #expect(try store.blobs() == [Digest.of(Self.whole)])
            #expect(try store.verify(blob: digest, settingAside: true) == nil)
        }
    }

    @Test func `beside a node blobs are checked too, and nothing is changed`() throws {
        try withRoot { root, digest, file in
            let node = try RootLock(root: root)
            defer { withExtendedLifetime(node) {} }
            let arriving = root + "/content/ingest/1"
            try Data([1]).write(to: URL(fileURLWithPath: arriving))
            #expect(throws: StoreVerificationError.self) { try StoreVerification(root: root, settingAside: true) }
            let store = try StoreVerification(root: root, settingAside: false)
            #expect(store.isBesideNode)
            #expect(try store.verify(blob: digest, settingAside: false)?.damage != nil)
            #expect(FileManager.default.fileExists(atPath: file))
            #expect(FileManager.default.fileExists(atPath: arriving))
        }
    }
}
