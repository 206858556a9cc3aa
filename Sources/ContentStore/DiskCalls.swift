internal import CLinux
internal import Glibc

/// The calls whose order decides what is there after a power cut; stores make them through this, so that a test can watch
/// the order and say what a cut between any two of them would have left.
///
/// Each returns 0, or another value with `errno` set.
package struct DiskCalls: Sendable {
    /// fsync(2).
    package var sync: @Sendable (_ descriptor: Int32) -> Int32 = { fsync($0) }
    /// syncfs(2).
    package var syncFileSystem: @Sendable (_ descriptor: Int32) -> Int32 = { linux_syncfs($0) }
    /// rename(2).
    package var rename: @Sendable (_ from: String, _ to: String) -> Int32 = { Glibc.rename($0, $1) }
    /// unlink(2).
    package var unlink: @Sendable (_ path: String) -> Int32 = { Glibc.unlink($0) }

    package init() {}

    package static let system = DiskCalls()
}
