internal import CUV

/// The libuv side of a `TCPConnection`.
final class ConnectionBox: HandleBox, @unchecked Sendable {
    private var receive: (@Sendable (TCPConnection.ReadEvent) -> Void)?
    /// Lends memory for a read; nil reads into the loop's buffer.
    private var lend: (@Sendable () -> ReadRoom)?

    static func make(loop: LoopThread) throws(UVError) -> ConnectionBox {
        let box = ConnectionBox(loop: loop, kind: UV_TCP)
        try box.open(as: uv_tcp_t.self, call: "uv_tcp_init") { uv_tcp_init($0, $1) }
        return box
    }

    static func accept(
        loop: LoopThread, from server: UnsafeMutablePointer<uv_stream_t>
    ) throws(UVError) -> ConnectionBox {
        let box = try make(loop: loop)
        guard let stream = box.stream else { throw .stopping("uv_accept") }
        do {
            try UVError.check(uv_accept(server, stream), "uv_accept")
        } catch {
            box.close()
            throw error
        }
        return box
    }

    var stream: UnsafeMutablePointer<uv_stream_t>? { pointer(as: uv_stream_t.self) }
    var handle: UnsafeMutablePointer<uv_handle_t>? { pointer(as: uv_handle_t.self) }

    func connect(to address: SocketAddress, completed: @escaping @Sendable (UVError?) -> Void) throws(UVError) {
        guard let socket = pointer(as: uv_tcp_t.self) else { throw .stopping("uv_tcp_connect") }
        let request = ConnectRequest(subject: address.description, completed: completed)
        let status: Int32
        do {
            status = try address.withKernelForm { target in
                uv_tcp_connect(request.pointer, socket, target) { pointer, status in
                    ConnectRequest.take(pointer)?.finish(status)
                }
            }
        } catch {
            request.abandon()
            throw error
        }
        guard status == 0 else {
            request.abandon()
            throw UVError(call: "uv_tcp_connect", code: status, subject: address.description)
        }
    }

    func startReading(
        into lend: (@Sendable () -> ReadRoom)?, _ receive: @escaping @Sendable (TCPConnection.ReadEvent) -> Void
    ) throws(UVError) {
        guard let stream else { throw .stopping("uv_read_start") }
        self.receive = receive
        self.lend = lend
        let status = uv_read_start(
            stream,
            { handle, _, buffer in
                guard let box = HandleBox.of(handle?.pointee.data, as: ConnectionBox.self), let buffer else { return }
                buffer.pointee = box.readTarget()
            },
            { stream, count, buffer in
                guard let box = HandleBox.of(stream?.pointee.data, as: ConnectionBox.self) else { return }
                box.readCompleted(count, buffer?.pointee.base)
            })
        try UVError.check(status, "uv_read_start")
    }

    private func readTarget() -> uv_buf_t {
        if let lend {
            let room = lend()
            return uv_buf_init(
                UnsafeMutableRawPointer(room.start).assumingMemoryBound(to: CChar.self), UInt32(room.count))
        }
        let shared = loop.readBuffer
        return uv_buf_init(shared.baseAddress?.assumingMemoryBound(to: CChar.self), UInt32(shared.count))
    }

    private func readCompleted(_ count: Int, _ base: UnsafeMutablePointer<CChar>?) {
        switch count {
        case 0: return  // EAGAIN
        case 1... where lend != nil: receive?(.filled(count))
        case 1...: receive?(.bytes([UInt8](UnsafeRawBufferPointer(start: base, count: count))))
        case Int(UV_EOF.rawValue):
            stopReading()
            receive?(.end)
        default:
            stopReading()
            receive?(.failed(UVError(call: "read", code: Int32(count))))
        }
    }

    func stopReading() {
        guard let stream else { return }
        uv_read_stop(stream)
    }

    func write(_ bytes: [UInt8], completed: @escaping @Sendable (UVError?) -> Void) throws(UVError) {
        guard let stream else { throw .stopping("uv_write") }
        let sent = tryWrite(bytes, stream)
        let request = WriteRequest(remainder: bytes[sent...], completed: completed)
        var part = request.buffer
        let status = uv_write(request.pointer, stream, &part, 1) { pointer, status in
            WriteRequest.take(pointer)?.finish(status)
        }
        guard status == 0 else {
            request.abandon()
            throw UVError(call: "uv_write", code: status)
        }
    }

    /// Writes `block[..<count]`, which must not change until then; true when the kernel took all of it at once, and
    /// `completed` is not called.
    func write(
        _ block: ByteBlock, count: Int, completed: @escaping @Sendable (UVError?) -> Void
    ) throws(UVError) -> Bool {
        guard let stream else { throw .stopping("uv_write") }
        let sent = Self.tryWrite(block.bytes(0..<count), stream)
        guard sent < count else { return true }
        let request = BlockWriteRequest(block: block, completed: completed)
        var part = Self.buffer(block.bytes(sent..<count))
        let status = uv_write(request.pointer, stream, &part, 1) { pointer, status in
            BlockWriteRequest.take(pointer)?.finish(status)
        }
        guard status == 0 else {
            request.abandon()
            throw UVError(call: "uv_write", code: status)
        }
        return false
    }

    /// Writes what the kernel takes at once without a copy: the number of bytes, 0 when others are waiting.
    private func tryWrite(_ bytes: [UInt8], _ stream: UnsafeMutablePointer<uv_stream_t>) -> Int {
        bytes.withUnsafeBytes { Self.tryWrite($0, stream) }
    }

    private static func tryWrite(_ bytes: UnsafeRawBufferPointer, _ stream: UnsafeMutablePointer<uv_stream_t>) -> Int {
        var part = buffer(bytes)
        return max(0, Int(uv_try_write(stream, &part, 1)))  // A failure shows again in uv_write.
    }

    private static func buffer(_ bytes: UnsafeRawBufferPointer) -> uv_buf_t {
        uv_buf_init(
            UnsafeMutablePointer(mutating: bytes.baseAddress?.assumingMemoryBound(to: CChar.self)),
            UInt32(bytes.count))
    }

    override func closed() {
        receive = nil
        lend = nil
    }
}

/// A connect in flight: lives until its callback.
private final class ConnectRequest {
    let pointer = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
    private let subject: String
    private let completed: @Sendable (UVError?) -> Void

    init(subject: String, completed: @escaping @Sendable (UVError?) -> Void) {
        self.subject = subject
        self.completed = completed
        pointer.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { pointer.deallocate() }

    static func take(_ pointer: UnsafeMutablePointer<uv_connect_t>?) -> ConnectRequest? {
        guard let data = pointer?.pointee.data else { return nil }
        return Unmanaged<ConnectRequest>.fromOpaque(data).takeRetainedValue()
    }

    func abandon() { _ = Self.take(pointer) }

    func finish(_ status: Int32) {
        completed(status < 0 ? UVError(call: "connect", code: status, subject: subject) : nil)
    }
}

/// A write in flight: owns a copy of the bytes until its callback.
private final class WriteRequest {
    let pointer = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
    private let bytes: UnsafeMutableBufferPointer<UInt8>
    private let completed: @Sendable (UVError?) -> Void

    init(remainder: ArraySlice<UInt8>, completed: @escaping @Sendable (UVError?) -> Void) {
        bytes = .allocate(capacity: remainder.count)
        _ = bytes.initialize(fromContentsOf: remainder)
        self.completed = completed
        pointer.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit {
        pointer.deallocate()
        bytes.deallocate()
    }

    var buffer: uv_buf_t {
        uv_buf_init(
            UnsafeMutableRawPointer(bytes.baseAddress)?.assumingMemoryBound(to: CChar.self), UInt32(bytes.count))
    }

    static func take(_ pointer: UnsafeMutablePointer<uv_write_t>?) -> WriteRequest? {
        guard let data = pointer?.pointee.data else { return nil }
        return Unmanaged<WriteRequest>.fromOpaque(data).takeRetainedValue()
    }

    func abandon() { _ = Self.take(pointer) }

    func finish(_ status: Int32) {
        completed(status < 0 ? UVError(call: "write", code: status) : nil)
    }
}

/// A write of a block in flight: keeps the block until its callback.
private final class BlockWriteRequest {
    let pointer = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
    private let block: ByteBlock
    private let completed: @Sendable (UVError?) -> Void

    init(block: ByteBlock, completed: @escaping @Sendable (UVError?) -> Void) {
        self.block = block
        self.completed = completed
        pointer.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { pointer.deallocate() }

    static func take(_ pointer: UnsafeMutablePointer<uv_write_t>?) -> BlockWriteRequest? {
        guard let data = pointer?.pointee.data else { return nil }
        return Unmanaged<BlockWriteRequest>.fromOpaque(data).takeRetainedValue()
    }

    func abandon() { _ = Self.take(pointer) }

    func finish(_ status: Int32) {
        completed(status < 0 ? UVError(call: "write", code: status) : nil)
    }
}
