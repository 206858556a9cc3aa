internal import CUV

/// A listening TCP socket; closes when its owner lets go of it.
package struct TCPListener: ~Copyable {
    /// Connections that the kernel keeps until they are accepted.
    package static let backlog: Int32 = 128

    private let box: ListenerBox

    /// Binds and listens; on the loop's thread.
    ///
    /// `accept` gets each connection, on the loop's thread.
    package init(
        loop: LoopThread, address: SocketAddress, accept: @escaping @Sendable (consuming TCPConnection) -> Void
    ) throws(UVError) {
        box = try ListenerBox.make(loop: loop, address: address, accept: accept)
    }

    deinit { box.release() }

    /// The address it is bound to, with the actual port.
    package func localAddress() throws(UVError) -> SocketAddress {
        guard let socket = box.pointer(as: uv_tcp_t.self) else { throw .stopping("uv_tcp_getsockname") }
        return try localName("uv_tcp_getsockname") { uv_tcp_getsockname(socket, $0, $1) }
    }
}

private final class ListenerBox: HandleBox, @unchecked Sendable {
    private var accept: (@Sendable (consuming TCPConnection) -> Void)?

    static func make(
        loop: LoopThread, address: SocketAddress, accept: @escaping @Sendable (consuming TCPConnection) -> Void
    ) throws(UVError) -> ListenerBox {
        let box = ListenerBox(loop: loop, kind: UV_TCP)
        box.accept = accept
        try box.open(as: uv_tcp_t.self, call: "uv_tcp_init") { uv_tcp_init($0, $1) }
        do {
            try box.listen(on: address)
        } catch {
            box.close()
            throw error
        }
        return box
    }

    private func listen(on address: SocketAddress) throws(UVError) {
        guard let socket = pointer(as: uv_tcp_t.self) else { throw .stopping("uv_tcp_bind") }
        try UVError.check(
            try address.withKernelForm { uv_tcp_bind(socket, $0, 0) }, "uv_tcp_bind", address.description)
        let stream = UnsafeMutableRawPointer(socket).assumingMemoryBound(to: uv_stream_t.self)
        let status = uv_listen(stream, TCPListener.backlog) { server, status in
            guard status == 0, let server, let box = HandleBox.of(server.pointee.data, as: ListenerBox.self) else {
                return
            }
            box.take(from: server)
        }
        try UVError.check(status, "uv_listen", address.description)
    }

    private func take(from server: UnsafeMutablePointer<uv_stream_t>) {
        // Out of descriptors: libuv itself drops the connection then; a failure here only means that it is gone.
        guard let connection = try? TCPConnection(loop: loop, acceptedFrom: server) else { return }
        accept?(connection)
    }

    override func closed() { accept = nil }
}
