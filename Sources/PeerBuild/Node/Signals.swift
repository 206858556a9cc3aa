internal import Dispatch
internal import Glibc

/// Signals as something to wait for.
enum Signals {
    /// Returns when one of the signals arrives, or the task is cancelled.
    static func first(of numbers: [Int32]) async {
        let (arrivals, continuation) = AsyncStream.makeStream(of: Void.self)
        let sources = numbers.map { number in
            // The default action would end the process before the source hears of it.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield() }
            source.resume()
            return source
        }
        defer { for source in sources { source.cancel() } }
        for await _ in arrivals { return }
    }
}
