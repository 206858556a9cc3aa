internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import LLB
internal import OCI
internal import Solver
internal import SwiftProtobuf

/// Runs a vertex on a peer: the asking side of "execute".
struct RemoteExecution: Sendable {
    let dialer: any PeerDialer

    /// Throws when the peer or the link to it is lost; then the vertex may run elsewhere.
    func execute(
        _ execution: Execution, on peer: PeerID, _ observer: Execution.Observer
    ) async throws -> Execution.Outcome {
        let stream = try await dialer.open(.execute, to: peer)
        return try await withTaskCancellationHandler {
            defer { stream.reset() }
            try await stream.send(try request(execution))
            while true {
                let message = try await stream.receive(Peerbuild_Peer_V1_ExecuteEvent.self)
                switch message.event {
                case .started: observer.started()
                case .log(let log): observer.log(Int(log.stream), [UInt8](log.bytes))
                case .progress(let progress):
                    observer.progress(progress.id, progress.name, progress.current, progress.total, progress.done)
                case .finished(let finished):
                    return .finished(
                        try PeerMessage.record(finished.record), merged: finished.merged,
                        moved: PeerMessage.moved(finished), seconds: finished.seconds)
                case .failed(let failure): return .failed(PeerMessage.failure(failure))
                case .inputLost(let index): return .inputLost(Int(index))
                case .busy, nil: throw PeerCallError.malformed("an answer of an unknown kind")
                }
            }
        } onCancel: {
            stream.reset()
        }
    }

    private func request(_ execution: Execution) throws -> Peerbuild_Peer_V1_ExecuteRequest {
        try .with {
            $0.build = execution.build
            $0.home = dialer.selfID.rawValue
            $0.operation = try execution.operation.serializedBytes()
            $0.name = execution.name
            $0.key = Data(execution.key.digest.bytes)
            $0.aliases = execution.aliases.map { Data($0.digest.bytes) }
            $0.inputs = execution.inputs.map(PeerMessage.input)
            $0.entitlements = execution.entitlements.sorted()
            if let resources = execution.resources { $0.resources = try resources.serializedBytes() }
            $0.ignoresCache = execution.ignoresCache
            $0.hasSession_p = execution.session != nil
            $0.prefetch = execution.prefetch.prefix(ExecutionService.prefetchMax).map(PeerMessage.prefetch)
        }
    }
}
