internal import ClusterModel
internal import Synchronization
internal import Transfer

/// Carries out a `PullPlan`: streams to holders, checks on threads of their own.
final class PullRun: Sendable {
    /// How often silent holders are looked for.
    private static let tick = Duration.milliseconds(500)
    /// Packs of one holder that are checked or wait for it; together with what the stream buffers this bounds its memory.
    ///
    /// More than there are processors here, so that none waits for the next pack to come whole.
    private static let checksMax = 4

    private struct Session {
        var holder: UInt64
        var stream: any PeerStream
        var requests: AsyncStream<PullPlan.Request>.Continuation
    }

    private struct State {
        var plan: PullPlan
        var sessions: [Int: Session] = [:]
        /// The disk's error, which no holder can mend.
        var failure: (any Error)?
        var isOver: Bool
        var reason = "nobody is known to hold it"
        /// Why holders were dropped, which their streams do not say.
        var dropped: [Int: TransferError] = [:]
    }

    private enum Ended: Sendable {
        case session
        case timer
    }

    private let target: PulledLayer
    /// Set when what is pulled is a part of the layer that is asked for.
    private let part: LayerPart?
    private let observer: PullObserver
    private let state: Mutex<State>
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant

    init(_ plan: PullPlan, _ target: PulledLayer, _ observer: PullObserver, part: LayerPart? = nil) {
        self.target = target
        self.part = part
        self.observer = observer
        state = Mutex(State(plan: plan, isOver: plan.isFinished))
        start = clock.now
    }

    private var now: MonotonicInstant { .zero + (clock.now - start) }

    /// Returns when all is stored.
    func run(first: (holder: LayerHolder, stream: any PeerStream)?, others: [LayerHolder]) async throws {
        await withTaskCancellationHandler {
            await withTaskGroup(of: Ended.self) { group in
                var waiting = others[...]
                var active = 0
                var number = 0
                func begin(_ holder: LayerHolder, _ stream: (any PeerStream)? = nil) {
                    let own = number
                    number += 1
                    active += 1
                    group.addTask {
                        await self.session(own, holder, stream)
                        return .session
                    }
                }
                group.addTask {
                    while !self.isOver, (try? await Task.sleep(for: Self.tick)) != nil { self.handle(.tick) }
                    return .timer
                }
                if let first { begin(first.holder, first.stream) }
                while true {
                    while let next = waiting.first, active < SnapshotStore.pullHoldersMax,
                        next.isKnown || active == 0, !isOver
                    {
                        waiting = waiting.dropFirst()
                        begin(next)
                    }
                    guard active > 0 else { break }
                    if await group.next() == .session { active -= 1 }
                }
                stop(nil)
                group.cancelAll()
            }
        } onCancel: {
            stop(CancellationError())
        }
        let (failure, isFinished, reason) = state.withLock { ($0.failure, $0.plan.isFinished, $0.reason) }
        if let failure { throw failure }
        try Task.checkCancellation()
        guard isFinished else { throw PullFailure(asked: others.count + (first == nil ? 0 : 1), reason: reason) }
    }

    private var isOver: Bool { state.withLock { $0.isOver } }

    private func stop(_ failure: (any Error)?) {
        let sessions = state.withLock { state in
            state.isOver = true
            if let failure, !state.plan.isFinished { state.failure = state.failure ?? failure }
            defer { state.sessions = [:] }
            return Array(state.sessions.values)
        }
        for session in sessions {
            session.requests.finish()
            session.stream.reset()
        }
    }

    /// Tells the plan and does what it orders, except checks, which it returns.
    @discardableResult
    private func handle(_ event: PullPlan.Event) -> [PullPlan.Request] {
        let effects = state.withLock { $0.isOver ? [] : $0.plan.handle(event, at: now) }
        var checks: [PullPlan.Request] = []
        for effect in effects {
            switch effect {
            case .ask(let holder, let request):
                _ = state.withLock { $0.sessions[holder] }?.requests.yield(request)
            case .check(_, let request): checks.append(request)
            case .drop(let number, let reason):
                let session = state.withLock { state in
                    if reason == .stalled { state.dropped[number] = .stalled(state.plan.limits) }
                    return state.sessions.removeValue(forKey: number)
                }
                guard let session else { continue }
                if reason == .lied { observer.lied(session.holder) }
                session.stream.reset()
            case .finished: stop(nil)
            // Sessions that end make room for other holders.
            case .starved: break
            }
        }
        return checks
    }

    // MARK: One holder

    private func session(_ number: Int, _ holder: LayerHolder, _ opened: (any PeerStream)?) async {
        do {
            let stream: any PeerStream
            if let opened { stream = opened } else { stream = try await holder.open() }
            defer { stream.reset() }
            let (requests, continuation) = AsyncStream.makeStream(of: PullPlan.Request.self)
            defer { continuation.finish() }
            let isWelcome = state.withLock { state in
                guard !state.isOver else { return false }
                state.sessions[number] = Session(holder: holder.id, stream: stream, requests: continuation)
                return true
            }
            guard isWelcome else { return }
            handle(.joined(number))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for await request in requests {
                        try await stream.send(TransferMessage.want(request: request.number, request.ranges).encoded())
                    }
                }
                defer { continuation.finish() }
                try await receive(number, holder.id, HolderInbox(stream, isServed: opened != nil))
            }
        } catch {
            let (isOver, works, why) = state.withLock { state in
                let why = state.dropped[number].map { "\($0)" } ?? "\(error)"
                if !state.isOver { state.reason = why }
                return (state.isOver, state.plan.works(number), why)
            }
            if !isOver {
                // One that the plan has dropped is not expected to send anything; if it lied, that has been told.
                if works, let error = error as? TransferError, error.isLie { observer.lied(holder.id) }
                observer.failed(holder.id, why)
            }
        }
        _ = state.withLock { $0.sessions.removeValue(forKey: number) }
        handle(.left(number))
    }

    private func receive(_ number: Int, _ holder: UInt64, _ messages: HolderInbox) async throws {
        try await withThrowingTaskGroup(of: Void.self) { checks in
            var running = 0
            var assembler = PackAssembler()
            var inbox = messages
            while let (message, bytes) = try await inbox.next({ handle(.heard(number, .waiting)) }) {
                guard let pack = try assembler.receive(message, expected: { self.expected($0, of: number) }) else {
                    handle(.heard(number, .part(bytes: bytes)))
                    continue
                }
                observer.received(holder, Int64(pack.plainBytes), Int64(pack.encodedBytes))
                for request in handle(.arrived(number, request: pack.request)) {
                    if running == Self.checksMax {
                        try await checks.next()
                        running -= 1
                    }
                    checks.addTask { try await self.check(pack, request, number) }
                    running += 1
                }
            }
            try await checks.waitForAll()
        }
        if !isOver { throw TransferError.endedEarly }
    }

    private func expected(_ request: Int, of number: Int) -> Int? {
        state.withLock { $0.plan.expected(request, of: number) }
    }

    private func check(_ pack: ReceivedPack, _ request: PullPlan.Request, _ number: Int) async throws {
        do {
            let ranges = part?.ownRanges(request.ranges) ?? request.ranges
            try await offPool { [target] in
                guard let wrong = try target.store(ranges, pack.plainParts()) else { return }
                let chunk = target.table.chunks[wrong]
                throw TransferError.wrongChunk(
                    path: target.manifest.entries[chunk.place.entry].displayPath, expected: chunk.digest)
            }
            handle(.stored(request: request.number))
        } catch let error as TransferError {
            state.withLock { $0.dropped[number] = error }
            handle(.refuted(number, request: request.number))
            throw error
        } catch {
            stop(error)
            throw error
        }
    }
}
