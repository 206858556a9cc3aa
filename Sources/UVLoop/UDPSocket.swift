internal import CUV
internal import Glibc

/// A datagram in the loop's read buffer: there for the time of the callback only, so that what is dropped at a glance is
/// never copied.
// @unchecked: the pointers are libuv's, valid and unshared on the loop's thread until the callback returns; it must not
// keep the value.
package struct IncomingDatagram: @unchecked Sendable {
    package let bytes: UnsafeRawBufferPointer
    private let kernelForm: UnsafePointer<sockaddr>

    init(bytes: UnsafeRawBufferPointer, kernelForm: UnsafePointer<sockaddr>) {
        self.bytes = bytes
        self.kernelForm = kernelForm
    }

    /// Where it came from; nil when that is neither IPv4 nor IPv6.
    package var kernelSource: KernelAddress? { KernelAddress(kernelForm) }

    /// The same in text form.
    package var source: SocketAddress? { SocketAddress(kernelForm) }
}

/// A bound UDP socket, IPv4 or IPv6 (which then takes IPv4 too); closes when its owner lets go of it.
package struct UDPSocket: ~Copyable {
    /// Called on the loop's thread with each datagram.
    package typealias Receive = @Sendable (IncomingDatagram) -> Void

    private let box: UDPBox

    /// Binds and starts receiving; on the loop's thread.
    package init(loop: LoopThread, address: SocketAddress, receive: @escaping Receive) throws(UVError) {
        box = try UDPBox.make(loop: loop, address: address, receive: receive)
    }

    /// Binds to the port of `group` on all addresses, beside other programs that do the same, for `join`.
    package init(loop: LoopThread, group: SocketAddress, receive: @escaping Receive) throws(UVError) {
        let all = SocketAddress(host: group.isIPv6 ? "::" : "0.0.0.0", port: group.port)
        box = try UDPBox.make(loop: loop, address: all, isShared: true, receive: receive)
    }

    deinit { box.release() }

    /// Takes part in a group on the link of an interface; harmless when it does already.
    package func join(_ group: SocketAddress, on interface: NetworkInterface) throws(UVError) {
        guard let socket = box.pointer(as: uv_udp_t.self) else { throw .stopping("uv_udp_set_membership") }
        let status = uv_udp_set_membership(socket, group.host, interface.address(ofGroup: group), UV_JOIN_GROUP)
        guard status != UV_EADDRINUSE.rawValue else { return }
        try UVError.check(status, "uv_udp_set_membership", "\(group) on \(interface.name)")
    }

    /// Sends to a group on the link of an interface, for that link only: routers do not pass it on.
    package func send(
        _ bytes: [UInt8], toGroup group: SocketAddress, on interface: NetworkInterface
    ) throws(UVError) {
        guard let socket = box.pointer(as: uv_udp_t.self) else { throw .stopping("uv_udp_try_send") }
        try UVError.check(uv_udp_set_multicast_ttl(socket, 255), "uv_udp_set_multicast_ttl")
        try UVError.check(
            uv_udp_set_multicast_interface(socket, interface.address(ofGroup: group)),
            "uv_udp_set_multicast_interface", interface.name)
        try send(bytes, to: group)
    }

    /// The address it is bound to, with the actual port.
    package func localAddress() throws(UVError) -> SocketAddress {
        guard let socket = box.pointer(as: uv_udp_t.self) else { throw .stopping("uv_udp_getsockname") }
        return try localName("uv_udp_getsockname") { uv_udp_getsockname(socket, $0, $1) }
    }

    /// As below, with an address in text form.
    package func send(_ bytes: [UInt8], to address: SocketAddress) throws(UVError) {
        try send(bytes, to: try KernelAddress(address))
    }

    /// Hands one datagram to the kernel now, or throws (`EAGAIN` when its buffer is full): UDP may lose it anyway.
    package func send(_ bytes: [UInt8], to address: KernelAddress) throws(UVError) {
        guard let socket = box.pointer(as: uv_udp_t.self) else { throw .stopping("uv_udp_try_send") }
        let status = address.withKernelForm(mapped: box.isIPv6) { target in
            bytes.withUnsafeBytes { buffer in
                var part = uv_buf_init(
                    UnsafeMutablePointer(mutating: buffer.baseAddress?.assumingMemoryBound(to: CChar.self)),
                    UInt32(buffer.count))
                return uv_udp_try_send(socket, &part, 1, target)
            }
        }
        try UVError.check(status, "uv_udp_try_send")
    }
}

/// Calls a `getsockname`-like function.
func localName(
    _ call: String, _ read: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<Int32>) -> Int32
) throws(UVError) -> SocketAddress {
    var storage = sockaddr_storage()
    var length = Int32(MemoryLayout<sockaddr_storage>.size)
    var address: SocketAddress?
    let status = withUnsafeMutableBytes(of: &storage) { bytes -> Int32 in
        guard let start = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return UV_EINVAL.rawValue }
        let status = read(start, &length)
        if status == 0 { address = SocketAddress(start) }
        return status
    }
    try UVError.check(status, call)
    guard let address else { throw UVError(call: call, code: UV_EAFNOSUPPORT.rawValue) }
    return address
}

private final class UDPBox: HandleBox, @unchecked Sendable {
    private(set) var receive: UDPSocket.Receive?
    private(set) var isIPv6 = false

    static func make(
        loop: LoopThread, address: SocketAddress, isShared: Bool = false, receive: @escaping UDPSocket.Receive
    ) throws(UVError) -> UDPBox {
        let box = UDPBox(loop: loop, kind: UV_UDP)
        box.receive = receive
        box.isIPv6 = address.isIPv6
        try box.open(as: uv_udp_t.self, call: "uv_udp_init") { uv_udp_init($0, $1) }
        do {
            try box.bind(to: address, isShared: isShared)
        } catch {
            box.close()
            throw error
        }
        return box
    }

    private func bind(to address: SocketAddress, isShared: Bool) throws(UVError) {
        guard let socket = pointer(as: uv_udp_t.self) else { throw .stopping("uv_udp_bind") }
        var flags: UInt32 = 0
        if isShared { flags |= UV_UDP_REUSEADDR.rawValue }
        // Beside an IPv4 socket on the same port.
        if isShared, address.isIPv6 { flags |= UV_UDP_IPV6ONLY.rawValue }
        try UVError.check(
            try address.withKernelForm { uv_udp_bind(socket, $0, flags) }, "uv_udp_bind", address.description)
        let status = uv_udp_recv_start(
            socket,
            { handle, _, buffer in
                guard let box = HandleBox.of(handle?.pointee.data, as: UDPBox.self), let buffer else { return }
                let shared = box.loop.readBuffer
                buffer.pointee = uv_buf_init(
                    shared.baseAddress?.assumingMemoryBound(to: CChar.self), UInt32(shared.count))
            },
            { handle, count, buffer, source, flags in
                // No source: libuv says that nothing is left to read. Errors (ICMP) are the sender's affair.
                guard count >= 0, let source, let buffer, flags & UInt32(UV_UDP_PARTIAL.rawValue) == 0,
                    let box = HandleBox.of(handle?.pointee.data, as: UDPBox.self)
                else { return }
                box.receive?(
                    IncomingDatagram(
                        bytes: UnsafeRawBufferPointer(start: buffer.pointee.base, count: count), kernelForm: source))
            })
        try UVError.check(status, "uv_udp_recv_start")
    }

    override func closed() { receive = nil }
}
