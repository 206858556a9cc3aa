import Synchronization
import Testing

@testable import PeerRuntime

@Suite(.timeLimit(.minutes(1)))
struct NewestValueTests {
    private final class Worked: Sendable {
        private let values = Mutex<[Int]>([])
        var all: [Int] { values.withLock { $0 } }
        func add(_ value: Int) { values.withLock { $0.append(value) } }
    }

    @Test func `there is one worker at a time, and of what comes meanwhile the last is worked on`() async throws {
        let newest = NewestValue<Int>()
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        let worked = Worked()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                await newest.forEach { value in
                    worked.add(value)
                    guard value == 0 else { return }
                    for await _ in gate { return }
                }
            }
            newest.put(0)
            try await TestCluster.wait("the first is worked on") { worked.all == [0] }
            for value in 1...100 { newest.put(value) }
            #expect(worked.all == [0])
            opener.yield()
            try await TestCluster.wait("the last is worked on") { worked.all.last == 100 }
            #expect(worked.all == [0, 100])
            // Its end is that of the task.
            group.cancelAll()
            try await group.waitForAll()
        }
    }
}
