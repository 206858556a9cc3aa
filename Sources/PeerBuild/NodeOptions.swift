internal import ArgumentParser
internal import BuildClient
internal import Foundation

/// Which node a command talks to.
struct NodeOptions: ParsableArguments {
    @Option(
        name: [.customLong("addr"), .customShort("H")],
        help: ArgumentHelp(
            "Node to talk to: unix:///PATH or tcp://HOST:PORT, several separated by commas.", valueName: "address"))
    var address: String?

    @Option(name: .customLong("tlscacert"), help: "CA certificate that the node's certificate is checked with.")
    var authority: String?

    @Option(name: .customLong("tlscert"), help: "Client certificate.")
    var certificate: String?

    @Option(name: .customLong("tlskey"), help: "Key of the client certificate.")
    var key: String?

    @Option(name: .customLong("tlsservername"), help: "Name in the node's certificate, if not the address's host.")
    var serverName: String?

    /// What was asked for, and whether by the user rather than by default.
    struct Choice: Hashable {
        let addresses: [NodeAddress]
        let isExplicit: Bool
    }

    /// Flag, then `PEERBUILD_HOST`, then `BUILDKIT_HOST`, then the socket of this machine's node.
    func choice(environment: [String: String]) throws(NodeAddressError) -> Choice {
        for text in [address, environment["PEERBUILD_HOST"], environment["BUILDKIT_HOST"]] {
            guard let text, !text.isEmpty else { continue }
            return Choice(addresses: try NodeAddress.list(text), isExplicit: true)
        }
        return Choice(addresses: [.standard], isExplicit: false)
    }

    var tls: NodeConnection.TLS? {
        guard authority != nil || certificate != nil || key != nil else { return nil }
        return NodeConnection.TLS(
            authority: authority, certificate: certificate, key: key, serverName: serverName)
    }

    mutating func validate() throws {
        if (certificate == nil) != (key == nil) {
            throw ValidationError("--tlscert and --tlskey belong together: give both or none")
        }
    }

    /// Runs `body` with a connection to the first node that answers.
    func withNode<Result: Sendable>(
        _ body: @Sendable (NodeConnection) async throws -> Result
    ) async throws -> Result {
        let choice = try choice(environment: ProcessInfo.processInfo.environment)
        return try await NodeConnection.with(anyOf: choice.addresses, tls: tls, body)
    }
}
