internal import BuildKitAPI
internal import Foundation
internal import Logging
internal import PeerRuntime

extension NodeCommand {
    /// Steps and connections that may end by themselves after the word to stop, before they are ended.
    private static let stopGrace = Duration.seconds(3)

    /// Runs a node until it is told to stop: by a signal, or by `peerbuild leave`.
    static func serve(_ configuration: NodeConfiguration) async throws {
        let logger = LogSetup.logger(level: configuration.logLevel, format: configuration.logFormat)
        let parameters = try configuration.parameters()
        do {
            try APIAddress.checkExposure(
                configuration.apiAddresses, hasTLS: configuration.tls != nil, allowsPlaintext: configuration.isInsecure)
            let service = try await RunningNode.start(
                parameters, addresses: configuration.apiAddresses, tls: configuration.apiTLS, logger: logger)
            await service.untilToldToStop(logger: logger)
            await service.stop(grace: stopGrace)
        } catch {
            throw NodeServiceError(error)
        }
    }
}

/// A node with its client API, in this process.
final class RunningNode: Sendable {
    let node: Node
    let server: APIServer
    private let work: Task<Void, any Error>
    private let serving: Task<Void, any Error>

    private init(node: Node, server: APIServer) {
        self.node = node
        self.server = server
        work = Task { try await node.run() }
        serving = Task { try await server.run() }
    }

    static func start(
        _ parameters: NodeParameters, addresses: [APIAddress], tls: APITLS?, logger: Logger
    ) async throws -> RunningNode {
        let node = try await Node(parameters, logger: logger)
        do {
            let server = try APIServer(addresses: addresses, tls: tls, backend: node, cluster: node, logger: logger)
            let running = RunningNode(node: node, server: server)
            let shown = server.addresses.map(\.description).joined(separator: ", ")
            logger.notice("node \(parameters.name) serves clients at \(shown) and peers at \(node.peerAddress)")
            return running
        } catch {
            await node.stop(leaving: false)
            throw error
        }
    }

    /// Returns at SIGTERM or SIGINT, or when the node has left the cluster; ends neither the node nor its client API.
    func untilToldToStop(logger: Logger) async {
        let (words, told) = AsyncStream.makeStream(of: Void.self)
        // No task group: it would wait for children that end with `stop` only, or cancel the calls under way with them.
        let signals = Task {
            await Signals.first(of: [SIGTERM, SIGINT])
            told.yield()
        }
        Task { [work] in
            _ = await work.result
            told.yield()
        }
        Task { [serving] in
            if case .failure(let error) = await serving.result { logger.error("the client API ended: \(error)") }
            told.yield()
        }
        for await _ in words { break }
        signals.cancel()
    }

    /// Leaves the cluster and ends the node; calls under way get their answers if they have them within the grace.
    func stop(grace: Duration) async {
        server.stop(grace: grace)
        await node.stop(leaving: true)
        work.cancel()
        _ = await work.result
        _ = await serving.result
    }
}

/// Why a node did not start or ended; the text is the whole message.
struct NodeServiceError: Error, CustomStringConvertible, UserFacing {
    let description: String

    init(_ error: any Error) { description = "\(error)" }
}
