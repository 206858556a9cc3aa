internal import CLinux
internal import Glibc
internal import Synchronization

/// A pipe whose reading end does not block.
final class Pipe: Sendable {
    let reading: FileDescriptor
    private let writer: Mutex<FileDescriptor?>

    init() throws(OperationError) {
        var ends: [Int32] = [-1, -1]
        let code = clinux_pipe(&ends)
        guard code == 0 else { throw .system(call: "pipe2", code: -code) }
        reading = FileDescriptor(ends[0])
        writer = Mutex(FileDescriptor(ends[1]))
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    }

    /// The writing end, for a child; `closeWriting` lets go of ours.
    var writing: FileDescriptor {
        guard let writer = writer.withLock({ $0 }) else { preconditionFailure("the pipe's writing end is closed") }
        return writer
    }

    func closeWriting() { writer.withLock { $0 = nil } }
}
