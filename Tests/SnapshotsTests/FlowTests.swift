internal import ClusterModel
internal import ContentStore
internal import OCI
internal import Synchronization
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Holders that serve others first, and peers that keep each other waiting.
@Suite struct FlowTests {
    /// Of pullers: short, and long beside the pulse of `BusyHolder`.
    private static let limits: TransferLimits = {
        var limits = TransferLimits()
        limits.silence = .seconds(1)
        return limits
    }()
    /// Of holders.
    private static let hasty: TransferLimits = {
        var limits = TransferLimits()
        limits.servedIdle = .milliseconds(50)
        return limits
    }()

    /// A layer of 1 MiB in four requests of one length: files of one chunk each, which do not compress.
    private func evenLayer(_ store: TestStore) throws -> LayerChain {
        try store.layer("i=0; while [ $i -lt 16 ]; do head -c 65536 /dev/urandom > $i; i=$((i + 1)); done")
    }

    @Test func `pulls wait for their turn for longer than a silence may last`() async throws {
        let holder = try TestStore()
        let chain = try evenLayer(holder)
        let layer = chain.layers[0].id
        let busy = BusyHolder(layer, holder.snapshots)
        let pullers = try (0..<2).map { _ in try TestStore(transferLimits: Self.limits) }
        let tally = PullTally()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for puller in pullers {
                group.addTask {
                    try await puller.snapshots.pullLayer(layer, from: [busy.holder(1)], observer: tally.observer)
                }
            }
            group.addTask { try await busy.release(after: Self.limits.silence * 3 / 2, streams: 2) }
            // The first failure ends the others.
            for try await _ in group {}
        }
        for puller in pullers { expectSame(try puller.dump(chain), try holder.dump(chain)) }
        #expect(tally.values.failed.isEmpty && tally.values.liars.isEmpty)
    }

    @Test func `a holder that has stopped saying that it is busy is given up`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore(transferLimits: Self.limits))
        let layer = try evenLayer(holder).layers[0].id
        let frozen = LayerHolder(id: 1) {
            let (near, far) = MemoryStream.pair()
            for _ in 0..<3 { try await far.send(TransferMessage.waiting.encoded()) }
            return near
        }
        let tally = PullTally()
        let failure = await #expect(throws: PullFailure.self) {
            try await puller.snapshots.pullLayer(layer, from: [frozen], observer: tally.observer)
        }
        #expect(failure?.reason == "\(TransferError.stalled(Self.limits))")
        #expect(tally.values.failed == [1] && tally.values.liars.isEmpty)
    }

    @Test func `another holder is asked while one is busy`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore(transferLimits: Self.limits))
        let chain = try evenLayer(holder)
        let layer = chain.layers[0].id
        let tally = PullTally()
        // Never released: what it was asked for comes from the other one.
        let busy = BusyHolder(layer, holder.snapshots)
        try await puller.snapshots.pullLayer(
            layer, from: [busy.holder(1), memoryHolder(2, layer, holder.snapshots)], observer: tally.observer)
        expectSame(try puller.dump(chain), try holder.dump(chain))
        #expect(tally.values.given == [2: 1 << 20] && tally.values.failed.isEmpty && tally.values.liars.isEmpty)
    }

    @Test func `the only holder that sends one pack again and again is named`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore(transferLimits: Self.limits))
        let layer = try evenLayer(holder).layers[0].id
        let tally = PullTally()
        let repeating = memoryHolder(1, layer, holder.snapshots) { message in
            guard case .pack(var pack)? = try? TransferMessage(decoding: message) else { return message }
            pack.request = 0
            return TransferMessage.pack(pack).encoded()
        }
        let failure = await #expect(throws: PullFailure.self) {
            try await puller.snapshots.pullLayer(layer, from: [repeating], observer: tally.observer)
        }
        #expect(failure?.reason.contains("a pack 0 that nobody asked for") == true, "\(failure?.reason ?? "")")
        #expect(tally.values.liars == [1])
    }

    @Test func `a busy word behind an answer is a breach of the rules`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore(transferLimits: Self.limits))
        let layer = try evenLayer(holder).layers[0].id
        let tally = PullTally()
        let late = memoryHolder(1, layer, holder.snapshots) { message in
            guard case .pack(let pack)? = try? TransferMessage(decoding: message), pack.request > 0 else {
                return message
            }
            return TransferMessage.waiting.encoded()
        }
        await #expect(throws: PullFailure.self) {
            try await puller.snapshots.pullLayer(layer, from: [late], observer: tally.observer)
        }
        #expect(tally.values.liars == [1])
    }

    @Test func `a puller that asks for nothing is served no more, and its layer can be removed`() async throws {
        let holder = try TestStore(transferLimits: Self.hasty)
        let layer = try evenLayer(holder).layers[0].id
        let (near, far) = MemoryStream.pair()
        await #expect(throws: TransferError.idle(Self.hasty.servedIdle)) {
            try await holder.snapshots.serveLayer(layer, on: far)
        }
        await #expect(throws: StreamReset.self) { _ = try await near.receive() }
        try holder.snapshots.remove(layer)
    }

    @Test func `a blob does not come from a peer that is silent, nor go to one that takes nothing`() async throws {
        let directory = TestStore.freshDirectory()
        defer { removeTree(directory) }
        let store = try ContentStore(root: directory + "/blobs")
        let digest = try store.put([UInt8](repeating: 7, count: 4 * MemoryStream.windowBytes))
        let (near, far) = MemoryStream.pair()
        await #expect(throws: TransferError.idle(Self.hasty.servedIdle)) {
            try await store.serveBlob(digest, on: far, limits: Self.hasty)
        }
        near.reset()
        let (puller, silent) = MemoryStream.pair()
        await #expect(throws: TransferError.stalled(Self.limits)) {
            try await store.pullBlob(Digest.of([1]), from: puller, limits: Self.limits)
        }
        silent.reset()
    }

    @Test func `a blob's puller asks elsewhere, or waits for its turn`() async throws {
        let directory = TestStore.freshDirectory()
        defer { removeTree(directory) }
        let (holder, store) = (try ContentStore(root: directory + "/a"), try ContentStore(root: directory + "/b"))
        let digest = try holder.put([1, 2, 3])
        for waits in [false, true] {
            let (near, far) = MemoryStream.pair()
            try await far.send(TransferMessage.waiting.encoded())
            async let served: Void? = try? holder.serveBlob(digest, on: far)
            if waits {
                try await store.pullBlob(digest, from: near)
                #expect(try store.read(digest) == [1, 2, 3])
            } else {
                await #expect(throws: TransferError.busy) {
                    try await store.pullBlob(digest, from: near, waits: false)
                }
                #expect(!store.contains(digest))
            }
            _ = await served
        }
    }
}

/// A holder with one slot, which is taken at first; it tells streams that they wait, as `PeerLinks` does.
private final class BusyHolder: Sendable {
    private static let pulse = Duration.milliseconds(20)

    private struct State {
        var isTaken = true
        /// Words that each stream was told.
        var told: [Int: Int] = [:]
        var streams = 0
    }

    private let layer: Digest
    private let store: SnapshotStore
    private let state = Mutex(State())

    init(_ layer: Digest, _ store: SnapshotStore) {
        self.layer = layer
        self.store = store
    }

    /// The holder, as one that pulls sees it.
    func holder(_ id: UInt64) -> LayerHolder {
        LayerHolder(id: id) {
            let (near, far) = MemoryStream.pair()
            let number = self.state.withLock { state in
                state.streams += 1
                return state.streams
            }
            Task {
                do { try await self.serve(number, far) } catch { far.reset() }
            }
            return near
        }
    }

    private func serve(_ number: Int, _ stream: MemoryStream) async throws {
        while !takeSlot() {
            try await stream.send(TransferMessage.waiting.encoded())
            state.withLock { $0.told[number, default: 0] += 1 }
            try await Task.sleep(for: Self.pulse)
        }
        defer { state.withLock { $0.isTaken = false } }
        try await store.serveLayer(layer, on: stream)
    }

    private func takeSlot() -> Bool {
        state.withLock { state in
            defer { state.isTaken = true }
            return !state.isTaken
        }
    }

    /// Frees the slot when so many streams have waited at least that long.
    func release(after duration: Duration, streams: Int) async throws {
        let words = Int(duration / Self.pulse)
        while state.withLock({ $0.told.values.count { $0 > words } < streams }) {
            try await Task.sleep(for: Self.pulse)
        }
        state.withLock { $0.isTaken = false }
    }
}
