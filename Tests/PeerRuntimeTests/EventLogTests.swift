import OCI
import Testing

@testable import PeerRuntime

@Suite struct EventLogTests {
    private static func event(_ number: Int) -> BuildEvent {
        .warning(BuildWarning(vertex: Digest.of([1]), short: "\(number)"))
    }

    private static func numbers(_ events: AsyncStream<BuildEvent>) async -> [Int] {
        var numbers: [Int] = []
        for await event in events {
            if case .warning(let warning) = event, let number = Int(warning.short) { numbers.append(number) }
        }
        return numbers
    }

    @Test func `whoever listens hears everything in order, early, late and after the end`() async {
        let log = EventLog()
        let early = log.events()
        for number in 0..<100 { log.append(Self.event(number)) }
        let late = log.events()
        for number in 100..<200 { log.append(Self.event(number)) }
        log.end()
        log.append(Self.event(200))
        for listener in [early, late, log.events()] {
            #expect(await Self.numbers(listener) == Array(0..<200))
        }
    }

    @Test func `listeners hear one order when several tasks append`() async {
        let log = EventLog()
        async let first = Self.numbers(log.events())
        async let second = Self.numbers(log.events())
        await withTaskGroup(of: Void.self) { group in
            for start in 0..<4 {
                group.addTask {
                    for number in 0..<500 { log.append(Self.event(start * 500 + number)) }
                }
            }
        }
        log.end()
        let (one, other) = await (first, second)
        #expect(one == other)
        #expect(one.sorted() == Array(0..<2_000))
    }

    // Cancelling a listener holds the lock of its task and ends its stream; appending resumes that task.
    @Test(.timeLimit(.minutes(1))) func `a listener may be cancelled while events come`() async {
        for round in 0..<3_000 {
            let log = EventLog()
            let listener = Task { for await _ in log.events() {} }
            let writer = Task.detached {
                for number in 0..<20 {
                    log.append(Self.event(number))
                    // Lets the listener wait again, so that the next event resumes it.
                    if number.isMultiple(of: 4) { await Task.yield() }
                }
            }
            for _ in 0..<(round % 7) { await Task.yield() }
            listener.cancel()
            await listener.value
            await writer.value
        }
    }
}
