internal import Foundation

/// One process a root directory: an advisory lock that ends with the process, however it ends.
final class RootLock: Sendable {
    private let descriptor: Int32

    /// - Throws: `NodeError.rootInUse`, or `.root` when the directory cannot be made or locked.
    init(root: String) throws {
        do {
            try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        } catch {
            throw NodeError.root(root, "it cannot be made: \(error.localizedDescription)")
        }
        let path = root + "/lock"
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw NodeError.root(root, "open \(path): \(String(cString: strerror(errno)))") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            // `deinit` closes it.
            let code = errno
            guard code != EWOULDBLOCK else { throw NodeError.rootInUse(root) }
            throw NodeError.root(root, "lock \(path): \(String(cString: strerror(code)))")
        }
    }

    deinit { close(descriptor) }
}
