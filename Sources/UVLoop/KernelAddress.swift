internal import CUV
internal import Glibc

/// A socket address as the kernel writes it: compared and used without its text form, for each datagram.
package struct KernelAddress: Hashable, Sendable {
    /// An IPv6 address in the kernel's order of bytes; an IPv4 address is mapped (RFC 4291, section 2.5.5.2).
    private var high: UInt64
    private var low: UInt64
    private var port: UInt16
    /// The interface of a link-local address; 0 for others.
    private var scope: UInt32 = 0

    private static let mappedWord: UInt32 = UInt32(0xFFFF).bigEndian

    /// Reads a socket address; nil for families other than IPv4 and IPv6.
    init?(_ address: UnsafePointer<sockaddr>) {
        let raw = UnsafeRawPointer(address)
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            let v4 = raw.assumingMemoryBound(to: sockaddr_in.self)
            high = 0
            low = UInt64(Self.mappedWord) | UInt64(v4.pointee.sin_addr.s_addr) << 32
            port = v4.pointee.sin_port
        case AF_INET6:
            guard let offset = MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr) else { return nil }
            high = raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            low = raw.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)
            port = raw.assumingMemoryBound(to: sockaddr_in6.self).pointee.sin6_port
            scope = raw.assumingMemoryBound(to: sockaddr_in6.self).pointee.sin6_scope_id
        default: return nil
        }
    }

    /// Parses an address in text form.
    package init(_ address: SocketAddress) throws(UVError) {
        guard let parsed = try address.withKernelForm({ KernelAddress($0) }) else {
            throw .stopping("a socket address")
        }
        self = parsed
    }

    private var isIPv4: Bool { high == 0 && UInt32(truncatingIfNeeded: low) == Self.mappedWord }

    /// Lends the form that a socket takes: an IPv6 socket wants IPv4 addresses mapped.
    func withKernelForm<Result>(mapped: Bool, _ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
        if isIPv4, !mapped {
            var v4 = sockaddr_in()
            v4.sin_family = sa_family_t(AF_INET)
            v4.sin_port = port
            v4.sin_addr.s_addr = UInt32(truncatingIfNeeded: low >> 32)
            return withUnsafeBytes(of: &v4) { SocketAddress.rebound($0, body) }
        }
        var v6 = sockaddr_in6()
        v6.sin6_family = sa_family_t(AF_INET6)
        v6.sin6_port = port
        v6.sin6_scope_id = scope
        withUnsafeMutableBytes(of: &v6.sin6_addr) { bytes in
            bytes.storeBytes(of: high, as: UInt64.self)
            bytes.storeBytes(of: low, toByteOffset: 8, as: UInt64.self)
        }
        return withUnsafeBytes(of: &v6) { SocketAddress.rebound($0, body) }
    }
}
