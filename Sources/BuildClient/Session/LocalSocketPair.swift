internal import Glibc

/// A listening Unix socket and one connection to it, which is the only one that it will ever have.
enum LocalSocketPair {
    /// The listener's descriptor and the connected one; both belong to the caller.
    ///
    /// The name of the socket lives in a directory of our own and is removed before this returns.
    static func make() throws(LocalSocketError) -> (listener: Int32, connected: Int32) {
        var template = Array("/tmp/peerbuild-session-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw .system("mkdtemp", errno) }
        let directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        let path = directory + "/socket"
        defer {
            unlink(path)
            rmdir(directory)
        }
        let listener = try open()
        do throws(LocalSocketError) {
            try call("bind", listener, path, bind)
            guard listen(listener, 1) == 0 else { throw .system("listen", errno) }
            return (listener, try connect(to: path))
        } catch {
            close(listener)
            throw error
        }
    }

    /// A connection to the Unix socket at `path`.
    static func connect(to path: String) throws(LocalSocketError) -> Int32 {
        let connected = try open()
        do throws(LocalSocketError) {
            try call("connect", connected, path, Glibc.connect)
        } catch {
            close(connected)
            throw error
        }
        return connected
    }

    private static func open() throws(LocalSocketError) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .system("socket", errno) }
        return descriptor
    }

    private static func call(
        _ name: String, _ descriptor: Int32, _ path: String,
        _ function: (Int32, UnsafePointer<sockaddr>?, socklen_t) -> Int32
    ) throws(LocalSocketError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let room = MemoryLayout.size(ofValue: address.sun_path) - 1
        guard path.utf8.count <= room else { throw .pathTooLong(path, room: room) }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                function(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw .system("\(name) \(path)", errno) }
    }
}

/// Why a Unix socket can't be used.
enum LocalSocketError: Error, Hashable, CustomStringConvertible {
    case system(String, Int32)
    case pathTooLong(String, room: Int)

    var description: String {
        switch self {
        case .system(let call, let code): "\(call): \(String(cString: strerror(code)))"
        case .pathTooLong(let path, let room): "socket path \(path) has more than \(room) bytes"
        }
    }
}
