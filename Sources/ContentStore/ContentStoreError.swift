internal import Glibc
package import OCI

/// Why a blob could not be stored or read.
package enum ContentStoreError: Error, Hashable, CustomStringConvertible {
    case notFound(Digest)
    /// The bytes are not those that were announced.
    case wrongContent(expected: Digest, actual: Digest)
    case tooLarge(Digest, size: Int64, maximum: Int64)
    case diskFull(path: String)
    /// A system call failed: which, on what, with which `errno`.
    case system(call: String, path: String, code: Int32)

    package var description: String {
        switch self {
        case .notFound(let digest): "blob \(digest) is not in the content store"
        case .wrongContent(let expected, let actual):
            "the bytes received have digest \(actual), not \(expected): they were damaged or forged on the way"
        case .tooLarge(let digest, let size, let maximum):
            "blob \(digest) has \(size) bytes, more than the \(maximum) that are read at once"
        case .diskFull(let path): "no space left on the file system of \(path): free some or move --root"
        case .system(let call, let path, let code): "\(call) \(path): \(String(cString: strerror(code)))"
        }
    }

    /// The error that `errno` tells of.
    static func last(_ call: String, _ path: String) -> ContentStoreError {
        let code = errno
        return code == ENOSPC || code == EDQUOT ? .diskFull(path: path) : .system(call: call, path: path, code: code)
    }
}
