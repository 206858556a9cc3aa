internal import Synchronization

/// What happened in one build, kept from the beginning, for clients that come late.
///
/// Listeners are told outside the lock: to resume a task takes a lock of the task's own, which is held while it is cancelled
/// and its stream, ended by that, comes back for this one.
final class EventLog: Sendable {
    /// Log pieces and progress that are kept; a build of 100 steps with clipped logs stays far below.
    ///
    /// Beyond it they are dropped, but never the states of vertices, of which there are a handful a vertex.
    static let detailsMax = 100_000
    /// Bytes of step output that are kept: 32 steps with all the output that a step may have.
    static let logBytesMax = 64 << 20

    private struct Listener {
        var feed: AsyncStream<BuildEvent>.Continuation
        /// How many events it has been told.
        var told: Int
    }

    private struct State {
        var events: [BuildEvent] = []
        var details = 0
        var logBytes = 0
        var isEnded = false
        var listeners: [UInt64: Listener] = [:]
        var count: UInt64 = 0
        /// Somebody is telling the listeners, and goes on until they know everything: one at a time, so that the order
        /// is kept.
        var isTelling = false

        /// Whether the caller is to tell the listeners.
        mutating func beginTelling() -> Bool {
            defer { isTelling = true }
            return !isTelling
        }
    }

    private let state = Mutex(State())

    func append(_ event: BuildEvent) {
        let isTeller = state.withLock { state in
            guard !state.isEnded, Self.admit(event, &state) else { return false }
            state.events.append(event)
            return state.beginTelling()
        }
        if isTeller { tell() }
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
        let isTeller = state.withLock { state in
            state.isEnded = true
            return state.beginTelling()
        }
        if isTeller { tell() }
    }

    /// What one listener does not know yet.
    private struct News {
        var feed: AsyncStream<BuildEvent>.Continuation
        var events: [BuildEvent]
    }

    private func tell() {
        while true {
            let (news, over) = state.withLock { state in Self.takeNews(&state) }
            guard !news.isEmpty else {
                for feed in over { feed.finish() }
                return
            }
            for item in news {
                for event in item.events { item.feed.yield(event) }
            }
        }
    }

    /// The next round of telling; without any it is over, and so are the listeners of a log that has ended.
    private static func takeNews(_ state: inout State) -> ([News], over: [AsyncStream<BuildEvent>.Continuation]) {
        var news: [News] = []
        for (number, listener) in state.listeners where listener.told < state.events.count {
            news.append(News(feed: listener.feed, events: Array(state.events[listener.told...])))
            state.listeners[number]?.told = state.events.count
        }
        guard news.isEmpty else { return (news, []) }
        state.isTelling = false
        guard state.isEnded else { return ([], []) }
        defer { state.listeners = [:] }
        return ([], state.listeners.values.map(\.feed))
    }

    /// Everything from the first event on; ends with the build.
    func events() -> AsyncStream<BuildEvent> {
        let (stream, feed) = AsyncStream.makeStream(of: BuildEvent.self)
        let isTeller = state.withLock { state in
            state.count += 1
            let number = state.count
            state.listeners[number] = Listener(feed: feed, told: 0)
            feed.onTermination = { [weak self] _ in self?.drop(number) }
            return state.beginTelling()
        }
        if isTeller { tell() }
        return stream
    }

    private func drop(_ number: UInt64) {
        state.withLock { $0.listeners[number] = nil }
    }
}
