internal import CUV
internal import Glibc

/// An IPv4 or IPv6 address in text form and a port.
package struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// Without brackets; an IPv4 address that arrived on an IPv6 socket is written as IPv4.
    package var host: String
    package var port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    package var description: String { isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }

    package var isIPv6: Bool { host.utf8.contains(UInt8(ascii: ":")) }

    private static let mappedPrefix = "::ffff:"

    /// Reads a socket address of the kernel; nil for other families.
    init?(_ address: UnsafePointer<sockaddr>) {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN) + 1)
        let raw = UnsafeRawPointer(address)
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            let v4 = raw.assumingMemoryBound(to: sockaddr_in.self)
            guard uv_ip4_name(v4, &text, text.count) == 0 else { return nil }
            port = UInt16(bigEndian: v4.pointee.sin_port)
        case AF_INET6:
            let v6 = raw.assumingMemoryBound(to: sockaddr_in6.self)
            guard uv_ip6_name(v6, &text, text.count) == 0 else { return nil }
            port = UInt16(bigEndian: v6.pointee.sin6_port)
        default: return nil
        }
        let name = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let isMapped = name.hasPrefix(Self.mappedPrefix) && name.utf8.contains(UInt8(ascii: "."))
        host = isMapped ? String(name.dropFirst(Self.mappedPrefix.count)) : name
    }

    /// The text form of an address of the kernel; nil when the kernel has no text for it.
    package init?(_ address: KernelAddress) {
        guard let text = address.withKernelForm(mapped: false, { SocketAddress($0) }) else { return nil }
        self = text
    }

    /// Lends the kernel's form; an IPv4 address is mapped when `mapped`, as IPv6 sockets want it.
    func withKernelForm<Result>(
        mapped: Bool = false, _ body: (UnsafePointer<sockaddr>) -> Result
    ) throws(UVError) -> Result {
        if isIPv6 || mapped {
            var v6 = sockaddr_in6()
            let text = isIPv6 ? host : Self.mappedPrefix + host
            try UVError.check(uv_ip6_addr(text, Int32(port), &v6), "uv_ip6_addr", description)
            return withUnsafeBytes(of: &v6) { Self.rebound($0, body) }
        }
        var v4 = sockaddr_in()
        try UVError.check(uv_ip4_addr(host, Int32(port), &v4), "uv_ip4_addr", description)
        return withUnsafeBytes(of: &v4) { Self.rebound($0, body) }
    }

    static func rebound<Result>(
        _ bytes: UnsafeRawBufferPointer, _ body: (UnsafePointer<sockaddr>) -> Result
    ) -> Result {
        guard let start = bytes.baseAddress else { preconditionFailure("a socket address has no bytes") }
        return body(start.assumingMemoryBound(to: sockaddr.self))
    }
}
