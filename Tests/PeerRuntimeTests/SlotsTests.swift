import ClusterModel
import Synchronization
import Testing

@testable import PeerRuntime

struct SlotsTests {
    /// Counts what runs at once.
    private final class Meter: Sendable {
        private let state = Mutex((now: 0, most: 0, ran: 0))

        func enter() {
            state.withLock { state in
                state.now += 1
                state.ran += 1
                state.most = max(state.most, state.now)
            }
        }

        func leave() { state.withLock { $0.now -= 1 } }
        var most: Int { state.withLock { $0.most } }
        var ran: Int { state.withLock { $0.ran } }
        var now: Int { state.withLock { $0.now } }
    }

    /// Who ran, in order.
    private final class Journal: Sendable {
        private let state = Mutex<[String]>([])

        func add(_ name: String) { state.withLock { $0.append(name) } }
        var names: [String] { state.withLock { $0 } }
    }

    @Test(arguments: UInt64(0)..<32)
    func `never more than the slots run, and cancellation loses none`(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let count = Int(random.next() % 4) + 1
        let slots = Slots(count: count)
        let meter = Meter()
        let plans = (0..<64).map { _ in
            (isPeer: random.next() % 2 == 0, yields: random.next() % 8, cancels: random.next() % 3)
        }
        await withTaskGroup(of: Void.self) { group in
            for plan in plans {
                group.addTask {
                    await withTaskGroup(of: Void.self) { inner in
                        inner.addTask {
                            try? await slots.withSlot(plan.isPeer ? .peer : .local) {
                                meter.enter()
                                defer { meter.leave() }
                                for _ in 0..<plan.yields { await Task.yield() }
                            }
                        }
                        guard plan.cancels == 0 else { return }
                        for _ in 0..<plan.yields { await Task.yield() }
                        inner.cancelAll()
                    }
                }
            }
        }
        #expect(meter.most <= count)
        #expect(meter.now == 0)
        #expect(slots.current == (running: 0, queued: 0))
        // All slots are there: as many bodies as slots meet inside.
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<count {
                group.addTask {
                    try? await slots.withSlot(.local) {
                        meter.enter()
                        while meter.now < count { await Task.yield() }
                    }
                }
            }
        }
        #expect(slots.current == (running: 0, queued: 0))
    }

    @Test func `work of peers goes before work of this node`() async throws {
        let slots = Slots(count: 1)
        let journal = Journal()
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await slots.withSlot(.local) { for await _ in gate { return } } }
            while slots.current.running == 0 { await Task.yield() }
            for (number, name) in ["local 1", "peer 1", "local 2", "peer 2"].enumerated() {
                group.addTask {
                    try await slots.withSlot(name.hasPrefix("peer") ? .peer : .local) {
                        journal.add(name)
                    }
                }
                while slots.current.queued <= number { await Task.yield() }
            }
            opener.yield()
            try await group.waitForAll()
        }
        #expect(journal.names == ["peer 1", "peer 2", "local 1", "local 2"])
    }

    @Test func `a cancelled waiter leaves the line at once`() async throws {
        let slots = Slots(count: 1)
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await slots.withSlot(.local) { for await _ in gate { return } } }
            while slots.current.running == 0 { await Task.yield() }
            let waiter = Task {
                do {
                    try await slots.withSlot(.peer) {}
                    return false
                } catch {
                    return error is CancellationError
                }
            }
            while slots.current.queued == 0 { await Task.yield() }
            waiter.cancel()
            #expect(await waiter.value)
            #expect(slots.current == (running: 1, queued: 0))
            opener.yield()
        }
        #expect(slots.current == (running: 0, queued: 0))
    }
}
