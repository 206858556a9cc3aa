internal import CLinux
internal import CUV
internal import Glibc

/// One TCP connection; closes when its owner lets go of it.
///
/// All members are for the loop's thread.
package struct TCPConnection: ~Copyable {
    /// What reading brings.
    package enum ReadEvent: Sendable {
        case bytes([UInt8])
        /// So many bytes were read into the room that was lent.
        case filled(Int)
        case end
        case failed(UVError)
    }

    private let box: ConnectionBox

    /// An unconnected socket.
    package init(loop: LoopThread) throws(UVError) {
        box = try ConnectionBox.make(loop: loop)
    }

    init(loop: LoopThread, acceptedFrom server: UnsafeMutablePointer<uv_stream_t>) throws(UVError) {
        box = try ConnectionBox.accept(loop: loop, from: server)
    }

    deinit { box.release() }

    /// Connects; `completed` gets nil or the failure, exactly once, also when the connection is closed before.
    package func connect(to address: SocketAddress, completed: @escaping @Sendable (UVError?) -> Void) throws(UVError) {
        try box.connect(to: address, completed: completed)
    }

    /// Starts reading into `receive`, until `stopReading`, the end or a failure.
    package func startReading(_ receive: @escaping @Sendable (ReadEvent) -> Void) throws(UVError) {
        try box.startReading(into: nil, receive)
    }

    /// Starts reading into memory that `lend` lends for each read, without a copy; `receive` gets `.filled` instead of
    /// `.bytes`.
    package func startReading(
        into lend: @escaping @Sendable () -> ReadRoom, _ receive: @escaping @Sendable (ReadEvent) -> Void
    ) throws(UVError) {
        try box.startReading(into: lend, receive)
    }

    /// Stops reading: the kernel's buffers fill and the peer has to wait.
    package func stopReading() { box.stopReading() }

    /// Writes all of `bytes` in order; `completed` gets nil or the failure once the kernel has taken them.
    package func write(_ bytes: [UInt8], completed: @escaping @Sendable (UVError?) -> Void) throws(UVError) {
        try box.write(bytes, completed: completed)
    }

    /// Writes the first `count` bytes of `block` in order and without a copy: nobody may change them until then.
    ///
    /// - Returns: true when the kernel took all at once, and `completed` is not called; false when the rest waits.
    package func write(
        _ block: ByteBlock, count: Int, completed: @escaping @Sendable (UVError?) -> Void
    ) throws(UVError) -> Bool {
        try box.write(block, count: count, completed: completed)
    }

    /// Bytes that wait in libuv for the kernel.
    package var pendingWriteBytes: Int {
        box.stream.map { Int(uv_stream_get_write_queue_size($0)) } ?? 0
    }

    /// The other end's address.
    package func remoteAddress() throws(UVError) -> SocketAddress {
        guard let socket = box.pointer(as: uv_tcp_t.self) else { throw .stopping("uv_tcp_getpeername") }
        return try localName("uv_tcp_getpeername") { uv_tcp_getpeername(socket, $0, $1) }
    }

    /// Sends small writes at once, and lets the kernel hold at most `bytes` that were not sent yet, so that what is
    /// written later need not wait behind megabytes.
    package func preferLatency(unsentBytesMax bytes: Int32) {
        guard let socket = box.pointer(as: uv_tcp_t.self), let stream = box.handle else { return }
        uv_tcp_nodelay(socket, 1)
        var descriptor: Int32 = -1
        guard uv_fileno(stream, &descriptor) == 0 else { return }
        var limit = bytes
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, &limit, socklen_t(MemoryLayout<Int32>.size))
    }

    /// Bytes a second that the network last carried towards the other end, as acknowledgements tell the kernel.
    ///
    /// A lower bound when there was too little to send. Nil before anything was measured.
    package var deliveryRate: (bytesPerSecond: Double, isLowerBound: Bool)? {
        var descriptor: Int32 = -1
        guard let stream = box.handle, uv_fileno(stream, &descriptor) == 0 else { return nil }
        var isLowerBound: Int32 = 0
        let rate = clinux_delivery_rate(descriptor, &isLowerBound)
        return rate > 0 ? (Double(rate), isLowerBound != 0) : nil
    }

    /// Closes at once; harmless when closed.
    ///
    /// Pending completions get `ECANCELED`.
    package func close() { box.close() }
}
