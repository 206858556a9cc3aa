internal import Glibc

/// Why a tree could not be sent or received.
package enum FileSyncError: Error, Hashable, CustomStringConvertible {
    /// A system call failed on a path relative to the root (or on the root itself).
    case system(call: String, path: String, code: Int32)
    /// The other side broke the protocol; nothing of what it sent is trusted any more.
    case violation(String)
    /// The other side gave up, in its own words.
    case remote(String)
    /// The other side ended before the exchange was complete.
    case endedEarly
    /// A file name that the protocol can't carry, as its text fields are UTF-8.
    case nameNotUTF8(String)

    package var description: String {
        switch self {
        case .system(let call, let path, let code): "\(call) \(path): \(String(cString: strerror(code)))"
        case .violation(let what): "the sender or receiver of files broke the protocol: \(what)"
        case .remote(let text): text
        case .endedEarly: "the other side ended the transfer of files before it was complete"
        case .nameNotUTF8(let path): "file name \(path) is not UTF-8; rename it or exclude it in .dockerignore"
        }
    }

    /// The failure of the system call that just returned.
    static func last(_ call: String, _ path: String) -> FileSyncError {
        .system(call: call, path: path, code: errno)
    }
}
