/// A failure of key handling or of libsodium, with what the operator can do about it.
package enum SodiumError: Error, Equatable, Sendable, CustomStringConvertible {
    /// libsodium could not start or could not get guarded memory.
    case unavailable(call: String)
    /// A file could not be read or written.
    case file(path: String, call: String, code: Int32, text: String)
    /// A secret's file can be read by others.
    case permissions(path: String, mode: UInt32)
    /// A file or text does not hold what it should.
    case malformed(what: String, place: String, remedy: String)

    package var description: String {
        switch self {
        case .unavailable(let call):
            "libsodium's \(call) failed: no guarded memory or no random source; check `ulimit -l` and /dev/urandom"
        case .file(let path, let call, _, let text):
            "\(call) \(path): \(text)"
        case .permissions(let path, let mode):
            "\(path) holds a secret but its mode is \(String(mode, radix: 8)), which lets others read it; "
                + "run `chmod 600 \(path)`"
        case .malformed(let what, let place, let remedy):
            "\(place): \(what); \(remedy)"
        }
    }
}
