internal import ClusterModel
internal import Synchronization
internal import Transfer

/// Is told each sign of progress that a peer gives.
typealias ProgressReport = @Sendable (ProgressWatch.Sign) -> Void

/// Runs an exchange; resets its stream and throws `failure` when the peer stalls by `limits`.
func withStallGuard<Value: Sendable>(
    on stream: any PeerStream, _ limits: TransferLimits, failure: TransferError,
    _ body: @escaping @Sendable (_ heard: @escaping ProgressReport) async throws -> Value
) async throws -> Value {
    let signs = SignsOfProgress(limits)
    return try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask {
            try await withTaskCancellationHandler {
                try await body { signs.note($0) }
            } onCancel: {
                stream.reset()
            }
        }
        group.addTask {
            while let pause = signs.untilNextLook() { try await Task.sleep(for: pause) }
            return nil
        }
        defer { group.cancelAll() }
        guard let value = try await group.next() ?? nil else { throw failure }
        return value
    }
}

/// A `ProgressWatch` on this process's clock, which several tasks tell.
private final class SignsOfProgress: Sendable {
    /// Looking more often than this costs more than it finds.
    private static let pauseMin = Duration.milliseconds(1)

    private let clock = ContinuousClock()
    private let start = ContinuousClock().now
    private let watch: Mutex<ProgressWatch>

    init(_ limits: TransferLimits) { watch = Mutex(ProgressWatch(limits, at: .zero)) }

    private var now: MonotonicInstant { .zero + (clock.now - start) }

    func note(_ sign: ProgressWatch.Sign) {
        let now = now
        watch.withLock { $0.note(sign, at: now) }
    }

    /// Nil when the peer has stalled.
    func untilNextLook() -> Duration? {
        let now = now
        return watch.withLock { watch in
            watch.isStalled(at: now) ? nil : max(Self.pauseMin, watch.nextLook - now)
        }
    }
}
