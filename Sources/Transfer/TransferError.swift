package import OCI

/// Why a layer or blob could not be pulled or served.
package enum TransferError: Error, Hashable, CustomStringConvertible {
    case malformedMessage(String)
    /// A message that does not belong where the exchange is.
    case unexpectedMessage(String)
    case wrongManifest(expected: Digest, actual: Digest)
    case manifest(ManifestError)
    case wrongChunk(path: String, expected: Digest)
    case wrongBlob(expected: Digest, actual: Digest)
    case endedEarly
    /// Nothing, or too little, came for as long as the limits allow.
    case stalled(TransferLimits)
    /// A puller that is served asked for nothing and took nothing for this long.
    case idle(Duration)
    /// The holder serves others first, and the puller would rather ask another one.
    case busy
    /// The holder says why it cannot serve.
    case refused(String)

    package var description: String {
        switch self {
        case .malformedMessage(let why): "the peer sent a malformed transfer message: \(why)"
        case .unexpectedMessage(let what): "the peer sent \(what) out of turn"
        case .wrongManifest(let expected, let actual): "the peer sent layer manifest \(actual) instead of \(expected)"
        case .manifest(let error): "the peer sent a bad layer manifest: \(error)"
        case .wrongChunk(let path, let expected):
            "the peer sent other bytes for \(path) than those of chunk \(expected)"
        case .wrongBlob(let expected, let actual): "the peer sent blob \(actual) instead of \(expected)"
        case .endedEarly: "the peer ended the transfer early; another holder or a retry may succeed"
        case .stalled(let limits):
            "the peer sent nothing for \(limits.silence), or less than \(limits.leastRate) bytes a second for "
                + "\(limits.ratePeriod); another holder or a retry may succeed"
        case .idle(let limit): "the peer neither asked for anything nor took what it was sent for \(limit)"
        case .busy: "the peer serves others first; another holder or a retry may succeed"
        case .refused(let why): "the peer cannot serve it: \(why)"
        }
    }

    /// Whether the peer has done what no working peer does: it is asked last from now on.
    package var isLie: Bool {
        switch self {
        case .endedEarly, .stalled, .idle, .busy, .refused: false
        case .malformedMessage, .unexpectedMessage, .wrongManifest, .manifest, .wrongChunk, .wrongBlob: true
        }
    }
}
