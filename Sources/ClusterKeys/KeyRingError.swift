/// Why a change of a key ring is refused, and what to do instead.
package enum KeyRingError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The ring holds as many keys as it may.
    case full(keysMax: Int)
    /// No key of the ring has that name, or several begin with it.
    case unknown(String)
    case ambiguous(String)
    /// The key seals: without it nothing could be sent.
    case seals(KeyFingerprint)
    /// The key was retired here or elsewhere; a key never comes back.
    case retired(KeyFingerprint)
    /// The node runs without a cluster key.
    case noKey
    /// A ring from disk or from a peer is not one.
    case malformed(String)

    package var description: String {
        switch self {
        case .full(let keysMax):
            "the ring holds \(keysMax) keys, the most there may be; remove one first with `peerbuild keys remove`"
        case .unknown(let name): "no key is called \"\(name)\"; `peerbuild keys list` names them"
        case .ambiguous(let name): "several keys begin with \"\(name)\"; give more digits, see `peerbuild keys list`"
        case .seals(let key): "key \(key) seals what this cluster sends; `peerbuild keys use` another one first"
        case .retired(let key): "key \(key) was retired and never seals again; make a new one with `peerbuild keygen`"
        case .noKey: "this node runs without a cluster key; start it with --cluster-key-file, see `peerbuild keygen`"
        case .malformed(let what): "not a key ring: \(what)"
        }
    }
}
