internal import BuildSession
internal import CLinux
internal import Glibc

/// A Unix socket in a step whose connections lead to an SSH agent of the client.
struct SSHSocket: Sendable {
    let path: String
    let agentID: String
    let listener: FileDescriptor

    private static let backlog: Int32 = 16

    /// Listens at `name` in the step's own directory.
    init(
        directory: String, name: String, options: (uid: UInt32, gid: UInt32, mode: UInt32), agentID: String
    )
        throws(OperationError)
    {
        path = "\(directory)/\(name)"
        self.agentID = agentID
        let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard number >= 0 else { throw .system(call: "socket", code: errno) }
        listener = FileDescriptor(number)
        // By descriptor: sun_path takes 107 bytes only, which a long root would exceed.
        let parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { throw .system(call: "open \(directory)", code: errno) }
        let holder = FileDescriptor(parent)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let text = Array("\(holder.procPath)/\(name)".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: text.prefix($0.count - 1)) }
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(number, $0, length) }
        }
        guard bound == 0, listen(number, Self.backlog) == 0 else { throw .system(call: "bind \(path)", code: errno) }
        guard chmod(path, mode_t(options.mode & 0o777)) == 0, lchown(path, options.uid, options.gid) == 0 else {
            throw .system(call: "chown \(path)", code: errno)
        }
    }

    /// Takes one waiting connection.
    func acceptConnection() -> FileDescriptor? {
        let number = clinux_accept(listener.number)
        return number >= 0 ? FileDescriptor(number) : nil
    }
}

/// Copies bytes between connections of a step and the client's SSH agent.
enum SSHForwarder {
    /// What one read takes, as BuildKit does it.
    private static let pieceBytes = 32 << 10

    /// Serves connections until the stream of them ends.
    static func serve(
        _ connections: AsyncStream<(agentID: String, socket: FileDescriptor)>, session: any SessionServices
    ) async {
        await withDiscardingTaskGroup { group in
            for await connection in connections {
                group.addTask {
                    await forward(connection.socket, to: connection.agentID, session: session)
                }
            }
            // The step is over: whoever still copies has nobody to copy for.
            group.cancelAll()
        }
    }

    private static func forward(_ socket: FileDescriptor, to agentID: String, session: any SessionServices) async {
        guard let agent = try? await session.connectSSHAgent(agentID) else { return }
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                group.addTask {
                    while let piece = try? await BlockingThread.run({ readPiece(socket) }), !piece.isEmpty {
                        guard (try? await agent.write(piece)) != nil else { break }
                    }
                    await agent.finishWriting()
                }
                group.addTask {
                    while let piece = try? await agent.read() {
                        let written: Void? = try? await BlockingThread.run {
                            try socket.writeAll(piece, name: "ssh socket")
                        }
                        guard written != nil else { break }
                    }
                    // The agent has gone; a step that still writes is told so.
                    shutdown(socket.number, Int32(SHUT_RDWR))
                }
            }
        } onCancel: {
            shutdown(socket.number, Int32(SHUT_RDWR))
            agent.close()
        }
        agent.close()
    }

    private static func readPiece(_ socket: FileDescriptor) -> [UInt8] {
        var piece = [UInt8](repeating: 0, count: pieceBytes)
        let count = read(socket.number, &piece, piece.count)
        return Array(piece.prefix(max(0, count)))
    }
}
