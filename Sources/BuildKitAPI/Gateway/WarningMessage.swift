internal import BuildKitProtocol
internal import GRPCCore
internal import OCI
internal import PeerRuntime

/// A frontend's warning as it comes over the wire.
enum WarningMessage {
    static func warning(_ message: Moby_Buildkit_V1_Frontend_WarnRequest) throws(RPCError) -> BuildWarning {
        guard let vertex = Digest(message.digest) else {
            throw RPCError(code: .invalidArgument, message: "'\(message.digest)' is not a digest")
        }
        var warning = BuildWarning(vertex: vertex, short: String(decoding: message.short, as: UTF8.self))
        warning.level = Int(message.level)
        warning.detail = message.detail.map { String(decoding: $0, as: UTF8.self) }
        warning.url = message.url
        warning.source = message.hasInfo ? message.info : nil
        warning.ranges = message.ranges
        return warning
    }
}
