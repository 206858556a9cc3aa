internal import Synchronization

/// What happened in one build, kept from the beginning, for clients that come late.
final class EventLog: Sendable {
    /// Log pieces and progress that are kept; a build of 100 steps with clipped logs stays far below.
    ///
    /// Beyond it they are dropped, but never the states of vertices, of which there are a handful a vertex.
    static let detailsMax = 100_000
    /// Bytes of step output that are kept: 32 steps with all the output that a step may have.
    static let logBytesMax = 64 << 20

    private struct State {
        var events: [BuildEvent] = []
        var details = 0
        var logBytes = 0
        var isEnded = false
        var listeners: [UInt64: AsyncStream<BuildEvent>.Continuation] = [:]
        var count: UInt64 = 0
    }

    private let state = Mutex(State())

    func append(_ event: BuildEvent) {
        state.withLock { state in
            guard !state.isEnded, Self.admit(event, &state) else { return }
            state.events.append(event)
            for listener in state.listeners.values { listener.yield(event) }
        }
    }

    private static func admit(_ event: BuildEvent, _ state: inout State) -> Bool {
        switch event {
        case .vertex: return true
        case .log(let log):
            guard state.details < detailsMax, state.logBytes + log.bytes.count <= logBytesMax else { return false }
            state.logBytes += log.bytes.count
        case .status, .warning:
            guard state.details < detailsMax else { return false }
        }
        state.details += 1
        return true
    }

    func end() {
        let listeners = state.withLock { state in
            state.isEnded = true
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        // Outside the lock: the end of a stream calls back into `drop`.
        for listener in listeners { listener.finish() }
    }

    /// Everything from the first event on; ends with the build.
    func events() -> AsyncStream<BuildEvent> {
        let (stream, continuation) = AsyncStream.makeStream(of: BuildEvent.self)
        state.withLock { state in
            for event in state.events { continuation.yield(event) }
            guard !state.isEnded else {
                continuation.finish()
                return
            }
            state.count += 1
            let number = state.count
            state.listeners[number] = continuation
            continuation.onTermination = { [weak self] _ in self?.drop(number) }
        }
        return stream
    }

    private func drop(_ number: UInt64) {
        state.withLock { $0.listeners[number] = nil }
    }
}
