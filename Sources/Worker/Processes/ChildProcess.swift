internal import CLinux
internal import Glibc

/// A process that this node started, known by its pidfd, so that its number can never mean another.
struct ChildProcess {
    let pidfd: FileDescriptor

    /// What to start.
    struct Request {
        /// Absolute path of the program, then its arguments.
        var command: [String]
        var environment: [String] = []
        var directory: String
        var standardInput: FileDescriptor
        var standardOutput: FileDescriptor
        var standardError: FileDescriptor
        /// Mounts that the process must not see; nil leaves it in our mount namespace.
        var detachedMounts: [String]?
        /// Control groups in which the process starts; nil leaves it in ours.
        var place: StepPlace?
    }

    static func start(_ request: Request) throws(OperationError) -> ChildProcess {
        let strings = StringVector(request.command)
        let environment = StringVector(request.environment)
        let detached = request.detachedMounts.map(StringVector.init)
        let taskFiles = (request.place?.taskFiles).map(StringVector.init)
        var pidfd: Int32 = -1
        let program = request.command.first ?? ""
        let pid = strings.withPointers { arguments in
            environment.withPointers { variables in
                withPointers(of: detached) { mounts in
                    withPointers(of: taskFiles) { tasks in
                        program.withCString { path in
                            request.directory.withCString { directory in
                                var raw = clinux_spawn_request()
                                raw.path = path
                                raw.arguments = UnsafePointer(arguments)
                                raw.environment = UnsafePointer(variables)
                                raw.directory = directory
                                raw.standard = (
                                    request.standardInput.number, request.standardOutput.number,
                                    request.standardError.number
                                )
                                raw.detached_mounts = mounts
                                raw.task_files = tasks
                                raw.group = request.place?.group?.number ?? -1
                                return clinux_spawn(&raw, &pidfd)
                            }
                        }
                    }
                }
            }
        }
        guard pid > 0 else { throw .system(call: "start \(program)", code: -pid) }
        return ChildProcess(pidfd: FileDescriptor(pidfd))
    }

    /// Waits until the process has ended and gives its exit code, or 128 + signal.
    func wait() -> Int32 {
        var request = pollfd(fd: pidfd.number, events: Int16(POLLIN), revents: 0)
        while poll(&request, 1, -1) < 0, errno == EINTR {}
        return clinux_reap(pidfd.number)
    }

    /// The exit code if the process has ended.
    func reapIfEnded() -> Int32? {
        let code = clinux_reap(pidfd.number)
        return code >= 0 ? code : nil
    }

    func kill() { _ = clinux_signal(pidfd.number, SIGKILL) }

    private static func withPointers<Result>(
        of vector: StringVector?, _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result
    ) -> Result {
        guard let vector else { return body(nil) }
        return vector.withPointers { pointers in
            pointers.withMemoryRebound(to: UnsafePointer<CChar>?.self, capacity: vector.count + 1) { body($0) }
        }
    }
}

/// C strings in one array, NULL terminated, as execve takes them.
struct StringVector {
    private let bytes: [CChar]
    private let offsets: [Int]

    init(_ strings: [String]) {
        var bytes: [CChar] = []
        var offsets: [Int] = []
        for string in strings {
            offsets.append(bytes.count)
            bytes += string.utf8CString
        }
        self.bytes = bytes
        self.offsets = offsets
    }

    var count: Int { offsets.count }

    func withPointers<Result>(_ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result) -> Result {
        var copy = bytes + [0]
        return copy.withUnsafeMutableBufferPointer { buffer in
            var pointers = offsets.map { offset in buffer.baseAddress.map { $0 + offset } }
            pointers.append(nil)
            return pointers.withUnsafeMutableBufferPointer { list in
                // Never empty: the terminator is there.
                guard let base = list.baseAddress else { preconditionFailure("an array of \(list.count) has no base") }
                return body(base)
            }
        }
    }
}
