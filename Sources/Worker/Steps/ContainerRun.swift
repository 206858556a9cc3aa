internal import Glibc

/// One run of a container by the OCI runtime, from start to its complete end.
///
/// Blocks its thread, and leaves the groups of its place to the caller; the runtime is one process (`crun run`) that
/// creates, waits for and deletes the container.
struct ContainerRun {
    enum Outcome {
        case exited(Int32)
        case notStarted(reason: String)
        case cancelled
    }

    var runtime: ContainerRuntime
    var stateDirectory: String
    var bundle: String
    var id: String
    var groups: ControlGroups
    /// Where the runtime starts; nil when it makes the groups itself.
    var place: StepPlace?
    /// Mounts to keep from the runtime; nil when there is nothing to hide.
    var hiddenMounts: [String]?

    private static let pieceBytes = 64 << 10
    /// Between two attempts to kill what a cancelled step still runs, in milliseconds.
    private static let killIntervalMilliseconds: Int32 = 10
    /// Attempts after which the runtime itself is killed.
    private static let killAttemptsMax = 300
    private static let runtimeLogBytesMax = 1 << 20
    private static let environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]

    func run(
        log: inout StepLog, cancellation: CancellationSignal, sockets: [SSHSocket],
        accepted: (String, FileDescriptor) -> Void
    ) throws(OperationError) -> Outcome {
        if cancellation.isRaised { return .cancelled }
        let output = try Pipe()
        let errors = try Pipe()
        let process = try start(output: output, errors: errors)
        let code = pump(
            process, [output.reading, errors.reading], log: &log, cancellation: cancellation, sockets: sockets,
            accepted: accepted)
        if cancellation.isRaised {
            cleanUp()
            return .cancelled
        }
        guard code != 0, let reason = runtimeError() else { return .exited(code) }
        cleanUp()
        return .notStarted(reason: reason)
    }

    private func start(output: Pipe, errors: Pipe) throws(OperationError) -> ChildProcess {
        let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard null >= 0 else { throw .system(call: "open /dev/null", code: errno) }
        let options = place == nil ? [] : ["--cgroup-manager", "disabled"]
        let process = try ChildProcess.start(
            .init(
                command: [runtime.path, "--root", stateDirectory, "--log", logPath, "--log-format", "json"] + options
                    + ["run", "--bundle", bundle, id],
                environment: Self.environment, directory: bundle, standardInput: FileDescriptor(null),
                standardOutput: output.writing, standardError: errors.writing, detachedMounts: hiddenMounts,
                place: place))
        output.closeWriting()
        errors.closeWriting()
        return process
    }

    private var logPath: String { "\(bundle)/runtime.log" }

    /// Passes output on until the runtime has ended, and then what is left of it.
    private func pump(
        _ process: ChildProcess, _ streams: [FileDescriptor], log: inout StepLog, cancellation: CancellationSignal,
        sockets: [SSHSocket], accepted: (String, FileDescriptor) -> Void
    ) -> Int32 {
        var piece = [UInt8](repeating: 0, count: Self.pieceBytes)
        let readable = Int16(POLLIN)
        var requests = streams.map { pollfd(fd: $0.number, events: readable, revents: 0) }
        requests.append(pollfd(fd: process.pidfd.number, events: readable, revents: 0))
        requests.append(pollfd(fd: cancellation.descriptor, events: readable, revents: 0))
        requests += sockets.map { pollfd(fd: $0.listener.number, events: readable, revents: 0) }
        let processIndex = streams.count
        let cancelIndex = streams.count + 1
        var attempts = 0
        while true {
            let isCancelled = requests[cancelIndex].fd < 0
            let count = poll(&requests, nfds_t(requests.count), isCancelled ? Self.killIntervalMilliseconds : -1)
            if count < 0 { continue }
            for index in streams.indices where requests[index].revents != 0 {
                if !forward(streams[index], index + 1, &piece, &log) { requests[index].fd = -1 }
            }
            for (index, socket) in sockets.enumerated() where requests[cancelIndex + 1 + index].revents != 0 {
                if let connection = socket.acceptConnection() { accepted(socket.agentID, connection) }
            }
            if requests[processIndex].revents != 0 { break }
            if requests[cancelIndex].revents != 0 { requests[cancelIndex].fd = -1 }
            if requests[cancelIndex].fd < 0 {
                groups.killAll()
                attempts += 1
                if attempts == Self.killAttemptsMax { process.kill() }
            }
        }
        // The container's processes are dead with its pid namespace; what they wrote is still in the pipes.
        for index in streams.indices where requests[index].fd >= 0 {
            while hasBytes(streams[index]), forward(streams[index], index + 1, &piece, &log) {}
        }
        return process.wait()
    }

    private func hasBytes(_ stream: FileDescriptor) -> Bool {
        var request = pollfd(fd: stream.number, events: Int16(POLLIN), revents: 0)
        return poll(&request, 1, 0) > 0
    }

    /// Passes one piece on; false at the end of the stream.
    private func forward(_ source: FileDescriptor, _ stream: Int, _ piece: inout [UInt8], _ log: inout StepLog) -> Bool
    {
        let count = read(source.number, &piece, piece.count)
        if count < 0 { return errno == EINTR || errno == EAGAIN }
        log.write(stream, piece[..<count])
        return count > 0
    }

    /// The runtime's own last error; nil when it had none, so that the exit code is the process's.
    private func runtimeError() -> String? {
        let number = open(logPath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
        guard number >= 0 else { return nil }
        let content = try? FileDescriptor(number).readAll(bytesMax: Self.runtimeLogBytesMax, name: logPath)
        let lines = String(decoding: content ?? [], as: UTF8.self).split(separator: "\n")
        return lines.last { $0.contains("\"level\":\"error\"") }.map(RuntimeLogLine.message)
    }

    /// Removes what the runtime may have left when it was killed, or failed half way.
    private func cleanUp() {
        groups.destroy(rounds: Self.killAttemptsMax)
        guard access("\(stateDirectory)/\(id)", F_OK) == 0 else { return }
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null >= 0 else { return }
        let sink = FileDescriptor(null)
        let deletion = try? ChildProcess.start(
            .init(
                command: [runtime.path, "--root", stateDirectory, "delete", "--force", id],
                environment: Self.environment, directory: bundle, standardInput: sink, standardOutput: sink,
                standardError: sink, detachedMounts: hiddenMounts))
        _ = deletion?.wait()
        groups.destroy(rounds: Self.killAttemptsMax)
    }
}
