internal import Glibc
package import OCI
package import Transfer

/// Why a layer or snapshot could not be made, read or moved.
package enum SnapshotError: Error, CustomStringConvertible {
    case unknownLayer(Digest)
    case layerInUse(Digest)
    case tooManyLayers(Int)
    case diskFull(path: String)
    /// A system call failed: which, on what, with which `errno`.
    case system(call: String, path: String, code: Int32)
    case corruptLayer(Digest, String)
    /// A file that is not what an archive or a layer can hold.
    case unsupported(path: String, String)
    case manifest(ManifestError)

    package var description: String {
        switch self {
        case .unknownLayer(let id): "layer \(id) is not on this node"
        case .layerInUse(let id): "layer \(id) is in use by a running step or a transfer; release that first"
        case .tooManyLayers(let count):
            "a snapshot of \(count) layers: overlayfs takes \(SnapshotStore.layersMax) at most"
        case .diskFull(let path): "no space left on the file system of \(path): free some or move --root"
        case .system(let call, let path, let code): "\(call) \(path): \(String(cString: strerror(code)))"
        case .corruptLayer(let id, let why): "layer \(id) on disk is damaged: \(why); remove it and build again"
        case .unsupported(let path, let why): "\(path): \(why)"
        case .manifest(let error): error.description
        }
    }

    /// The error that `code`, an `errno` value, tells of.
    static func failed(_ call: String, _ path: String, code: Int32) -> SnapshotError {
        code == ENOSPC || code == EDQUOT ? .diskFull(path: path) : .system(call: call, path: path, code: code)
    }

    /// Whether a hard link failed because there cannot be one: another file system, or too many names already.
    var forbidsLink: Bool {
        switch self {
        case .system("linkat", _, EXDEV), .system("linkat", _, EMLINK): true
        default: false
        }
    }

    /// The error that `errno` tells of.
    static func last(_ call: String, _ path: String) -> SnapshotError { failed(call, path, code: errno) }
}
