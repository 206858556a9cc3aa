internal import CUV
internal import Glibc

extension SocketAddress {
    /// The address that this machine's packets to `target` carry; nil without a route.
    ///
    /// Asks the kernel by connecting a datagram socket, which sends nothing.
    package static func ofRoute(to target: SocketAddress) -> SocketAddress? {
        let family = target.isIPv6 ? AF_INET6 : AF_INET
        let socket = Glibc.socket(family, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return nil }
        defer { close(socket) }
        let length = socklen_t(target.isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
        guard let status = try? target.withKernelForm({ connect(socket, $0, length) }), status == 0,
            let own = try? localName(
                "getsockname",
                { address, length in
                    var size = socklen_t(length.pointee)
                    return getsockname(socket, address, &size) == 0 ? 0 : UV_EINVAL.rawValue
                })
        else { return nil }
        return own
    }

    /// Whether it stands for all addresses of the machine.
    package var isWildcard: Bool { host == "0.0.0.0" || host == "::" }

    /// Reachable on its own link only (RFC 3927, RFC 4291 section 2.5.6).
    package var isLinkLocal: Bool {
        host.hasPrefix("169.254.") || host.lowercased().hasPrefix("fe8") || host.lowercased().hasPrefix("fe9")
            || host.lowercased().hasPrefix("fea") || host.lowercased().hasPrefix("feb")
    }
}

/// An interface of this machine, by one of its addresses.
package struct NetworkInterface: Hashable, Sendable {
    package let name: String
    /// Without a port.
    package let address: SocketAddress

    /// Those that are up, without loopback; one for each address.
    package static var all: [NetworkInterface] {
        var list: UnsafeMutablePointer<uv_interface_address_t>?
        var count: Int32 = 0
        guard uv_interface_addresses(&list, &count) == 0, let list else { return [] }
        defer { uv_free_interface_addresses(list, count) }
        return (0..<Int(count)).compactMap { index in
            guard list[index].is_internal == 0, let name = list[index].name else { return nil }
            let address = withUnsafeBytes(of: &list[index].address) { bytes -> SocketAddress? in
                guard let start = bytes.baseAddress else { return nil }
                return SocketAddress(start.assumingMemoryBound(to: sockaddr.self))
            }
            return address.map {
                NetworkInterface(name: String(cString: name), address: SocketAddress(host: $0.host, port: 0))
            }
        }
    }

    /// How libuv names the interface for a group: by its address, or by its name with IPv6.
    func address(ofGroup group: SocketAddress) -> String { group.isIPv6 ? "::%\(name)" : address.host }
}
