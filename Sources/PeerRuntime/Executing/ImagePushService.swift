internal import ClusterModel
internal import Foundation
internal import OCI
internal import Solver
internal import SwiftProtobuf
internal import Worker

/// Both sides of "export": a home node has a result pushed by the node that holds it.
struct ImagePushService: Sendable {
    private static let itemsMax = 64
    /// Progress that may wait for a slow home node; older progress is dropped, as newer replaces it.
    private static let eventsMax = 256

    let push: ImagePush
    let dialer: any PeerDialer

    func serve(_ stream: any PeerStream) async throws {
        let request = try Self.request(try await stream.receive(Peerbuild_Peer_V1_ExportRequest.self), dialer)
        let (events, continuation) = AsyncStream.makeStream(
            of: Peerbuild_Peer_V1_ExportEvent.self, bufferingPolicy: .bufferingNewest(Self.eventsMax))
        try await withThrowingTaskGroup(of: Peerbuild_Peer_V1_ExportEvent?.self) { group in
            group.addTask {
                defer { continuation.finish() }
                return await result(of: request) { id, name, current, total, done in
                    continuation.yield(
                        .with {
                            $0.progress.id = id
                            $0.progress.name = name
                            $0.progress.current = current
                            $0.progress.total = total
                            $0.progress.done = done
                        })
                }
            }
            group.addTask {
                for await event in events { try await stream.send(event) }
                return nil
            }
            group.addTask {
                while try await stream.receive() != nil {}
                throw CancellationError()
            }
            // The export and the sender of its progress; the third waits for the home node's word.
            var last: Peerbuild_Peer_V1_ExportEvent?
            for _ in 0..<2 {
                if let event = try await group.next(), let event { last = event }
            }
            if let last { try await stream.send(last) }
            await stream.finish()
            group.cancelAll()
        }
    }

    private func result(
        of request: ImagePush.Request, progress: @escaping OperationContext.Progress
    ) async -> Peerbuild_Peer_V1_ExportEvent {
        do {
            let outcome = try await push.run(request, progress: progress)
            return .with {
                $0.done.response = outcome.response
                PeerMessage.set(outcome.moved, in: &$0.done)
            }
        } catch {
            return .with { $0.failed = PeerMessage.failure(VertexFailure("\(error)")) }
        }
    }

    private static func request(
        _ message: Peerbuild_Peer_V1_ExportRequest, _ dialer: any PeerDialer
    ) throws -> ImagePush.Request {
        guard message.items.count <= itemsMax else { throw PeerCallError.malformed("\(message.items.count) images") }
        let items = try message.items.map { item in
            ImagePush.Item(
                platform: Platform(item.platform) ?? .host, tree: try PeerMessage.input(item.tree),
                config: item.config.isEmpty ? nil : [UInt8](item.config),
                baseConfig: item.baseConfig.isEmpty ? nil : [UInt8](item.baseConfig))
        }
        let session =
            message.hasSession_p
            ? RemoteSession(build: message.build, home: PeerID(rawValue: message.home), dialer: dialer) : nil
        return ImagePush.Request(
            build: message.build, items: items, attributes: message.attributes,
            metadata: message.metadata.mapValues { [UInt8]($0) }, session: session)
    }

    /// Asks a peer to push.
    ///
    /// A failure of the export itself is a `BuildError`; any other error means that the peer is lost.
    func push(
        _ request: ImagePush.Request, at peer: PeerID, progress: @escaping OperationContext.Progress
    ) async throws -> (response: [String: String], moved: MovedBytes) {
        let stream = try await dialer.open(.export, to: peer)
        return try await withTaskCancellationHandler {
            defer { stream.reset() }
            try await stream.send(message(request))
            while true {
                switch try await stream.receive(Peerbuild_Peer_V1_ExportEvent.self).event {
                case .progress(let status):
                    progress(status.id, status.name, status.current, status.total, status.done)
                case .done(let done): return (done.response, PeerMessage.moved(done))
                case .failed(let failure): throw BuildError(failure.message)
                case nil: throw PeerCallError.malformed("an answer of an unknown kind")
                }
            }
        } onCancel: {
            stream.reset()
        }
    }

    private func message(_ request: ImagePush.Request) -> Peerbuild_Peer_V1_ExportRequest {
        .with {
            $0.build = request.build
            $0.home = dialer.selfID.rawValue
            $0.hasSession_p = request.session != nil
            $0.attributes = request.attributes
            $0.metadata = request.metadata.mapValues { Data($0) }
            $0.items = request.items.map { item in
                .with {
                    $0.platform = item.platform.description
                    $0.tree = PeerMessage.input(item.tree)
                    $0.config = Data(item.config ?? [])
                    $0.baseConfig = Data(item.baseConfig ?? [])
                }
            }
        }
    }
}
