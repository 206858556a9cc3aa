internal import ClusterModel
internal import Logging
internal import OCI
internal import Snapshots
internal import Solver
internal import Synchronization

/// Brings what later steps of a segment read while an earlier one runs: one tree at a time, behind all pulls that a step
/// waits for.
///
/// A pull that a step waits for takes over: what has come stays, and it goes on from there. The rest of the tree follows
/// once the step has what it waited for.
final class Prefetcher: Sendable {
    /// Trees that may wait; more would be for steps that are far away.
    private static let waitingMax = 64
    /// Trees of which it is remembered what came; more are of steps that never ran here.
    private static let broughtMax = 256

    private struct State {
        var waiting: [TreeReading] = []
        var isRunning = false
        /// What is on its way, and the word to stop.
        var current: (reading: TreeReading, stop: AsyncStream<Void>.Continuation)?
        var giveWay: [CheckedContinuation<Void, Never>] = []
        /// What has come of trees that no step has read yet, oldest first.
        var brought: [(tree: Digest, moved: MovedBytes)] = []

        /// Takes out what has one of these layers to bring.
        mutating func setAside(_ layers: Set<Digest>) -> [TreeReading] {
            let aside = waiting.filter { $0.hasAny(of: layers) }
            waiting.removeAll { $0.hasAny(of: layers) }
            return aside
        }
    }

    private let fetcher: LayerFetcher
    private let jobs: Jobs
    private let state = Mutex(State())

    init(_ fetcher: LayerFetcher, jobs: Jobs) {
        var behind = fetcher
        behind.priority = .prefetch
        self.fetcher = behind
        self.jobs = jobs
    }

    /// Begins with those trees of which something is missing here.
    func add(_ readings: [TreeReading]) {
        let missing = readings.filter { reading in
            reading.tree.chain.layers.contains { !fetcher.snapshots.contains($0.id) }
        }
        guard !missing.isEmpty else { return }
        let isFirst = state.withLock { state in
            state.waiting += missing.prefix(max(0, Self.waitingMax - state.waiting.count))
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if isFirst { jobs.start { await self.work() } }
    }

    /// Stops bringing trees with any of these layers; returns them when their streams are closed.
    ///
    /// Whoever waits for the layers adds the trees again when they are here: a tree may share only its base with what the
    /// step grows from.
    func giveWay(to layers: [Digest]) async -> [TreeReading] {
        let missing = Set(layers.filter { !fetcher.snapshots.contains($0) })
        guard !missing.isEmpty else { return [] }
        let (aside, current) = state.withLock { ($0.setAside(missing), $0.current?.reading) }
        guard let current, current.hasAny(of: missing) else { return aside }
        await withCheckedContinuation { continuation in
            let stop = state.withLock { state -> AsyncStream<Void>.Continuation? in
                guard let current = state.current, current.reading.hasAny(of: missing) else { return nil }
                state.giveWay.append(continuation)
                return current.stop
            }
            if let stop { stop.finish() } else { continuation.resume() }
        }
        return [current] + aside
    }

    /// What has come of a tree, once: it counts with the step that reads the tree first.
    func claim(_ tree: LayerChain) -> MovedBytes {
        state.withLock { state in
            let mine = state.brought.filter { $0.tree == tree.id }
            state.brought.removeAll { $0.tree == tree.id }
            return mine.reduce(MovedBytes()) { $0 + $1.moved }
        }
    }

    private func note(_ moved: MovedBytes, of tree: LayerChain) {
        var early = moved
        early.prefetched = moved.pulled
        // The step itself counts what it does without.
        early.leftOut = 0
        guard early != MovedBytes() else { return }
        state.withLock { state in
            state.brought.append((tree.id, early))
            if state.brought.count > Self.broughtMax { state.brought.removeFirst() }
        }
    }

    private func work() async {
        while !Task.isCancelled, let (reading, stop) = next() {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.fetch(reading) }
                group.addTask { for await _ in stop {} }
                await group.next()
                group.cancelAll()
            }
            let waiting = state.withLock { state in
                state.current = nil
                defer { state.giveWay = [] }
                return state.giveWay
            }
            for continuation in waiting { continuation.resume() }
        }
    }

    private func next() -> (TreeReading, AsyncStream<Void>)? {
        state.withLock { state in
            guard !state.waiting.isEmpty else {
                state.isRunning = false
                return nil
            }
            let reading = state.waiting.removeFirst()
            let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
            state.current = (reading, continuation)
            return (reading, stream)
        }
    }

    private func fetch(_ reading: TreeReading) async {
        let (held, tally) = (HeldLayers(fetcher.snapshots), TransferTally())
        defer {
            held.release()
            note(tally.value, of: reading.tree.chain)
        }
        do {
            _ = try await TransferTally.$current.withValue(tally) { try await fetcher.hold(reading, in: held) }
        } catch {
            // The step pulls it itself, or says why not.
            fetcher.logger.debug("a tree did not come early", metadata: ["error": "\(error)"])
        }
    }
}
