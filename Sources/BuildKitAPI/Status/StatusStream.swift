internal import BuildKitProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import PeerRuntime

/// Writes a build's events as BuildKit's status messages: in batches, when events come faster than the client reads.
enum StatusStream {
    /// Events that may wait for the client; the build's own log bounds what waits behind them.
    private static let waitingMax = 1024
    /// Time that a batch is given to fill; clients draw about ten times a second.
    private static let batching = Duration.milliseconds(20)

    static func write(
        _ events: AsyncStream<BuildEvent>, to writer: RPCWriter<Moby_Buildkit_V1_StatusResponse>
    ) async throws {
        let queue = Handoff<BuildEvent>(capacity: waitingMax)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await event in events { try await queue.send(event) }
                queue.finish()
            }
            var open = OpenVertices()
            while let events = try await queue.takeAll() {
                for event in events { open.note(event) }
                for message in StatusBatch.messages(of: events) { try await writer.write(message) }
                try await Task.sleep(for: batching)
            }
            // Clients show a vertex without an end as running for ever.
            let ends = open.cancelled(at: Int64(Date().timeIntervalSince1970 * 1e9))
            for message in StatusBatch.messages(of: ends) { try await writer.write(message) }
            try await group.waitForAll()
        }
    }
}
