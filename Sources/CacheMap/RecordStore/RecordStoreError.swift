/// Why the record store cannot be used.
package enum RecordStoreError: Error, Hashable, Sendable, CustomStringConvertible {
    case unusable(path: String, call: String, text: String)
    /// The file is no database, or damaged.
    case corrupt(path: String, text: String)
    /// A newer PeerBuild wrote it.
    case newer(path: String, found: Int, known: Int)
    /// A row does not hold what the schema says.
    case malformedRecord(path: String, key: String, text: String)

    package var description: String {
        switch self {
        case .unusable(let path, let call, let text):
            "record store \(path): \(call): \(text)"
        case .corrupt(let path, let text):
            "record store \(path) is damaged: \(text); move it away (with its -wal and -shm files), "
                + "and the node starts with an empty cache map"
        case .newer(let path, let found, let known):
            "record store \(path) has schema \(found), this version knows \(known); "
                + "use the newer peerbuild, or another --root"
        case .malformedRecord(let path, let key, let text):
            "record store \(path): record \(key) cannot be read: \(text); delete it with `peerbuild prune`"
        }
    }
}
