internal import CLinux
package import ClusterModel
package import ContentStore
internal import Glibc
internal import OCI
package import Snapshots

/// Makes a tree of one file whose bytes are a blob: the result of http sources, uploads and blob sources.
package struct SingleFileLayer: Sendable {
    private static let pieceBytes = 1 << 20
    private static let rootMode: mode_t = 0o755

    private let content: ContentStore
    private let snapshots: SnapshotStore

    package init(content: ContentStore, snapshots: SnapshotStore) {
        self.content = content
        self.snapshots = snapshots
    }

    /// The tree; equal files give equal trees on every node.
    package func make(_ file: HTTPFile) async throws -> LayerChain {
        try await BlockingThread.run { try layer(file) }
    }

    private func layer(_ file: HTTPFile) throws -> LayerChain {
        let work = try snapshots.prepare(over: .scratch)
        do {
            try write(file, below: work.path)
            return LayerChain(try snapshots.commit(work).map { [$0] } ?? [])
        } catch {
            snapshots.discard(work)
            throw error
        }
    }

    private func write(_ file: HTTPFile, below root: String) throws {
        let reader = try content.reader(of: file.digest)
        let path = root + "/" + file.filename
        let target = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard target >= 0 else { throw Self.failure("open", path) }
        defer { close(target) }
        var offset: Int64 = 0
        while offset < reader.size {
            let piece = try reader.bytes(at: offset, count: Self.pieceBytes)
            var done = 0
            while done < piece.count {
                let count = piece.withUnsafeBytes {
                    Glibc.write(target, $0.baseAddress?.advanced(by: done), $0.count - done)
                }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw Self.failure("write", path) }
                done += count
            }
            offset += Int64(piece.count)
        }
        // The owner first: chown clears the setuid bit.
        guard fchown(target, file.uid, file.gid) == 0 else { throw Self.failure("fchown", path) }
        guard fchmod(target, mode_t(file.mode)) == 0 else { throw Self.failure("fchmod", path) }
        let time = timespec(tv_sec: Int(file.modified), tv_nsec: 0)
        guard futimens(target, [time, time]) == 0 else { throw Self.failure("futimens", path) }
        guard chmod(root, Self.rootMode) == 0 else { throw Self.failure("chmod", root) }
        guard utimensat(AT_FDCWD, root, [time, time], 0) == 0 else { throw Self.failure("utimensat", root) }
    }

    private static func failure(_ call: String, _ path: String) -> OperationError {
        .system(call: call + " " + path, code: errno)
    }
}
