internal import BuildSession
internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import LLB
internal import OCI
internal import Solver
internal import SwiftProtobuf

/// Runs vertices for other nodes: the serving side of "execute".
struct ExecutionService: Sendable {
    /// Log pieces and progress that may wait for a slow home node before the step's output waits too.
    static let eventsMax = 4_096
    private static let inputsMax = 4_096
    /// Trees that may come early for one step.
    static let prefetchMax = 64

    let executor: Executor
    let dialer: any PeerDialer

    func serve(_ stream: any PeerStream) async throws {
        let request = try await stream.receive(Peerbuild_Peer_V1_ExecuteRequest.self)
        let execution = try Self.execution(request, dialer: dialer)
        let (events, continuation) = AsyncStream.makeStream(
            of: Peerbuild_Peer_V1_ExecuteEvent.self, bufferingPolicy: .bufferingOldest(Self.eventsMax))
        let observer = Execution.Observer(
            started: { continuation.yield(.with { $0.started = true }) },
            log: { output, bytes in
                continuation.yield(
                    .with {
                        $0.log.stream = Int32(output)
                        $0.log.bytes = Data(bytes)
                    })
            },
            progress: { id, name, current, total, done in
                continuation.yield(
                    .with {
                        $0.progress.id = id
                        $0.progress.name = name
                        $0.progress.current = current
                        $0.progress.total = total
                        $0.progress.done = done
                    })
            })
        try await withThrowingTaskGroup(of: Peerbuild_Peer_V1_ExecuteEvent?.self) { group in
            group.addTask {
                defer { continuation.finish() }
                return Self.event(try await executor.execute(execution, observer))
            }
            group.addTask {
                for await event in events { try await stream.send(event) }
                return nil
            }
            group.addTask {
                // The home node sends nothing more: an end or a reset means that nobody wants the result.
                while try await stream.receive() != nil {}
                throw CancellationError()
            }
            var last: Peerbuild_Peer_V1_ExecuteEvent?
            var ended = 0
            while ended < 2, let value = try await group.next() {
                ended += 1
                last = value ?? last
            }
            if let last { try await stream.send(last) }
            await stream.finish()
            group.cancelAll()
        }
    }

    private static func execution(
        _ request: Peerbuild_Peer_V1_ExecuteRequest, dialer: any PeerDialer
    ) throws -> Execution {
        guard request.inputs.count <= inputsMax else { throw PeerCallError.malformed("\(request.inputs.count) inputs") }
        let home = PeerID(rawValue: request.home)
        let session = request.hasSession_p ? RemoteSession(build: request.build, home: home, dialer: dialer) : nil
        return Execution(
            build: request.build, operation: try Pb_Op(serializedBytes: request.operation),
            resources: request.resources.isEmpty ? nil : try Pb_LinuxResources(serializedBytes: request.resources),
            name: request.name, key: CacheKey(try PeerMessage.digest(request.key)),
            aliases: try request.aliases.map { CacheKey(try PeerMessage.digest($0)) },
            inputs: try request.inputs.map(PeerMessage.input), entitlements: Set(request.entitlements),
            session: session,
            ignoresCache: request.ignoresCache, priority: .peer,
            prefetch: try request.prefetch.prefix(prefetchMax).map(PeerMessage.prefetch))
    }

    private static func event(_ outcome: Execution.Outcome) -> Peerbuild_Peer_V1_ExecuteEvent {
        .with {
            switch outcome {
            case .finished(let record, let merged, let moved, let seconds):
                $0.finished.record = PeerMessage.record(record)
                $0.finished.merged = merged
                PeerMessage.set(moved, in: &$0.finished)
                $0.finished.seconds = seconds
            case .failed(let failure): $0.failed = PeerMessage.failure(failure)
            case .inputLost(let index): $0.inputLost = UInt32(index)
            }
        }
    }
}
