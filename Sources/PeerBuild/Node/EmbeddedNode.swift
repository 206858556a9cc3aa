internal import BuildKitAPI
internal import ClusterModel
internal import Foundation
internal import Logging
internal import OCI
internal import PeerRuntime
internal import Sodium

/// A node inside the process of one command, for a first build without a daemon.
///
/// Its state stays, in the user's state directory (XDG Base Directory Specification), so that the next build is warm.
struct EmbeddedNode {
    private static let stopGrace = Duration.milliseconds(200)

    /// Where its client API listens: `unix:///PATH`.
    let address: String
    private let running: RunningNode
    private let directory: String

    static func start() async throws -> EmbeddedNode {
        let environment = ProcessInfo.processInfo.environment
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("peerbuild-\(getpid())").path
        do {
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            var parameters = NodeParameters(
                name: "embedded", root: root(environment), bind: PeerAddress(host: "127.0.0.1", port: 0),
                keys: try .withoutKey())
            parameters.slots = ProcessInfo.processInfo.activeProcessorCount
            parameters.platforms = [.host]
            parameters.version = PeerBuildCommand.version
            parameters.startSeconds = UInt32(clamping: Int(Date().timeIntervalSince1970))
            parameters.seed = RandomBytes.seed()
            let socket = directory + "/peerbuild.sock"
            let running = try await RunningNode.start(
                parameters, addresses: [.unix(path: socket)], tls: nil,
                logger: LogSetup.logger(level: .error, format: .text))
            return EmbeddedNode(address: "unix://" + socket, running: running, directory: directory)
        } catch {
            try? FileManager.default.removeItem(atPath: directory)
            throw NodeServiceError(error)
        }
    }

    func stop() async {
        await running.stop(grace: Self.stopGrace)
        try? FileManager.default.removeItem(atPath: directory)
    }

    private static func root(_ environment: [String: String]) -> String {
        let state =
            environment["XDG_STATE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
            ?? (environment["HOME"] ?? "/root") + "/.local/state"
        return state + "/peerbuild"
    }
}
