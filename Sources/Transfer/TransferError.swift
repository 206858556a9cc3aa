package import OCI

/// Why a layer or blob could not be pulled or served.
package enum TransferError: Error, Hashable, CustomStringConvertible {
    case malformedMessage(String)
    /// A message that does not belong where the exchange is.
    case unexpectedMessage(String)
    case wrongManifest(expected: Digest, actual: Digest)
    case manifest(ManifestError)
    case wrongContent(path: String, expected: Digest, actual: Digest)
    case wrongBlob(expected: Digest, actual: Digest)
    case endedEarly
    /// The holder says why it cannot serve.
    case refused(String)

    package var description: String {
        switch self {
        case .malformedMessage(let why): "the peer sent a malformed transfer message: \(why)"
        case .unexpectedMessage(let what): "the peer sent \(what) out of turn"
        case .wrongManifest(let expected, let actual): "the peer sent layer manifest \(actual) instead of \(expected)"
        case .manifest(let error): "the peer sent a bad layer manifest: \(error)"
        case .wrongContent(let path, let expected, let actual):
            "the peer sent content \(actual) for \(path) instead of \(expected)"
        case .wrongBlob(let expected, let actual): "the peer sent blob \(actual) instead of \(expected)"
        case .endedEarly: "the peer ended the transfer early; another holder or a retry may succeed"
        case .refused(let why): "the peer cannot serve it: \(why)"
        }
    }
}
