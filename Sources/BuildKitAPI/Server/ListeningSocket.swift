internal import Foundation
internal import Glibc

/// A socket that already listens, so that clients may connect before the server accepts.
///
/// It is bound here and not by the transport to give each failure its own words, and to set the mode of a Unix socket
/// before anyone can connect to it.
struct ListeningSocket: Sendable {
    /// The address with its real port.
    let address: APIAddress
    let descriptor: CInt

    /// Connections that may wait to be accepted.
    static let backlog: CInt = 1024
    /// Owner and group may connect.
    static let unixMode: mode_t = 0o660

    static func open(_ address: APIAddress) throws(APIServerError) -> ListeningSocket {
        switch address {
        case .unix(let path): ListeningSocket(address: address, descriptor: try openUnix(path, address))
        case .tcp(let host, let port): try openTCP(host: host, port: port, address)
        }
    }

    /// Removes a Unix socket's name; the descriptor belongs to the transport by then.
    func removeName() {
        if case .unix(let path) = address { unlink(path) }
    }

    func close() { _ = Glibc.close(descriptor) }

    private static func openUnix(_ path: String, _ address: APIAddress) throws(APIServerError) -> CInt {
        try createParent(of: path, address)
        try removeStale(path, address)
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("socket", address) }
        do throws(APIServerError) {
            let bound = withUnixAddress(path) { bind(descriptor, $0, $1) }
            guard bound == 0 else { throw errno == EADDRINUSE ? .inUse(address) : failure("bind", address) }
            guard chmod(path, unixMode) == 0 else { throw failure("chmod", address) }
            guard listen(descriptor, backlog) == 0 else { throw failure("listen", address) }
        } catch {
            _ = Glibc.close(descriptor)
            throw error
        }
        return descriptor
    }

    private static func createParent(of path: String, _ address: APIAddress) throws(APIServerError) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        let parent = String(path[..<slash])
        guard mkdir(parent, 0o755) == 0 || errno == EEXIST else { throw failure("mkdir \(parent)", address) }
    }

    /// A name that nobody listens behind is what a killed process left.
    private static func removeStale(_ path: String, _ address: APIAddress) throws(APIServerError) {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else { return }
        guard attributes[.type] as? FileAttributeType == .typeSocket else {
            throw .cannotListen(address, call: "bind", reason: "the path exists and is not a socket; remove it")
        }
        let probe = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard probe >= 0 else { throw failure("socket", address) }
        defer { _ = Glibc.close(probe) }
        // EAGAIN: someone listens there, whose backlog is full.
        if withUnixAddress(path, { connect(probe, $0, $1) }) == 0 || errno == EAGAIN { throw .inUse(address) }
        guard unlink(path) == 0 || errno == ENOENT else { throw failure("unlink", address) }
    }

    private static func openTCP(
        host: String, port: UInt16, _ address: APIAddress
    ) throws(APIServerError) -> ListeningSocket {
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &found)
        guard status == 0, let found else {
            throw .cannotListen(address, call: "resolve \(host)", reason: String(cString: gai_strerror(status)))
        }
        defer { freeaddrinfo(found) }
        // A name may stand for addresses of families that this machine does not have.
        var next: UnsafeMutablePointer<addrinfo>? = found
        var failure = APIServerError.cannotListen(address, call: "resolve \(host)", reason: "no address")
        while let info = next?.pointee {
            do throws(APIServerError) { return try openTCP(info, host: host, address) } catch { failure = error }
            next = info.ai_next
        }
        throw failure
    }

    private static func openTCP(
        _ info: addrinfo, host: String, _ address: APIAddress
    ) throws(APIServerError) -> ListeningSocket {
        let descriptor = socket(info.ai_family, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("socket", address) }
        do throws(APIServerError) {
            var one: CInt = 1
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<CInt>.size))
            guard bind(descriptor, info.ai_addr, info.ai_addrlen) == 0 else {
                throw errno == EADDRINUSE ? .inUse(address) : failure("bind", address)
            }
            guard listen(descriptor, backlog) == 0 else {
                throw errno == EADDRINUSE ? .inUse(address) : failure("listen", address)
            }
            let actual = try boundPort(of: descriptor, address)
            return ListeningSocket(address: .tcp(host: host, port: actual), descriptor: descriptor)
        } catch {
            _ = Glibc.close(descriptor)
            throw error
        }
    }

    private static func boundPort(of descriptor: CInt, _ address: APIAddress) throws(APIServerError) -> UInt16 {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let status = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard status == 0 else { throw failure("getsockname", address) }
        return withUnsafeBytes(of: storage) { bytes in
            // `sin_port` and `sin6_port` stand at the same place, in network order.
            UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
        }
    }

    private static func withUnixAddress(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
    ) -> CInt {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { target in
            target.copyBytes(from: path.utf8.prefix(APIAddress.pathBytesMax))
        }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    private static func failure(_ call: String, _ address: APIAddress) -> APIServerError {
        .cannotListen(address, call: call, reason: String(cString: strerror(errno)))
    }
}
