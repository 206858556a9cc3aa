internal import Glibc

/// Tells a thread that polls descriptors that its task was cancelled.
final class CancellationSignal: Sendable {
    private let pipe: Pipe

    init() throws(OperationError) { pipe = try Pipe() }

    /// Readable (end of file) for ever once the signal was raised.
    var descriptor: Int32 { pipe.reading.number }

    func raise() { pipe.closeWriting() }

    var isRaised: Bool {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&request, 1, 0) > 0
    }
}
