internal import CZlib
internal import CZstd

/// Compresses a byte stream in pieces; equal bytes in give equal bytes out, on every node.
///
/// gzip headers carry no name and no time (zlib's default), zstd frames no checksum of time either. The result depends
/// on the library's version only.
struct StreamCompressor: ~Copyable {
    private static let outBytes = 128 << 10

    private enum State {
        case none
        case gzip(UnsafeMutablePointer<z_stream>)
        case zstd(OpaquePointer)
    }

    private let state: State
    private var buffer: [UInt8]

    init(_ compression: LayerCompression) throws(ExportError) {
        buffer = []
        state = try Self.open(compression)
        buffer = [UInt8](repeating: 0, count: Self.outBytes)
    }

    deinit {
        switch state {
        case .none: break
        case .gzip(let stream):
            deflateEnd(stream)
            stream.deinitialize(count: 1)
            stream.deallocate()
        case .zstd(let context): ZSTD_freeCCtx(context)
        }
    }

    /// Adds bytes; `output` gets whatever is ready.
    mutating func write(
        _ bytes: UnsafeRawBufferPointer, _ output: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard !bytes.isEmpty else { return }
        try run(bytes, finishing: false, output)
    }

    /// Ends the stream.
    mutating func finish(_ output: (UnsafeRawBufferPointer) throws -> Void) throws {
        try run(UnsafeRawBufferPointer(start: nil, count: 0), finishing: true, output)
    }

    private static func open(_ compression: LayerCompression) throws(ExportError) -> State {
        switch compression.algorithm {
        case .uncompressed: return .none
        case .gzip:
            let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
            stream.initialize(to: z_stream())
            // 15 + 16: the largest window, in a gzip frame (zlib.h, deflateInit2).
            let code = deflateInit2_(
                stream, CInt(compression.level), Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                CInt(MemoryLayout<z_stream>.size))
            guard code == Z_OK else {
                stream.deallocate()
                throw .compression("zlib answered \(code)")
            }
            return .gzip(stream)
        case .zstd:
            guard let context = ZSTD_createCCtx() else { throw .compression("no memory for zstd") }
            ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, CInt(compression.level))
            return .zstd(context)
        }
    }

    private mutating func run(
        _ input: UnsafeRawBufferPointer, finishing: Bool, _ output: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        switch state {
        case .none:
            if !input.isEmpty { try output(input) }
        case .gzip(let stream): try deflateAll(stream, input, finishing: finishing, output)
        case .zstd(let context): try compressAll(context, input, finishing: finishing, output)
        }
    }

    private mutating func deflateAll(
        _ stream: UnsafeMutablePointer<z_stream>, _ input: UnsafeRawBufferPointer, finishing: Bool,
        _ output: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        stream.pointee.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
        stream.pointee.avail_in = UInt32(input.count)
        try buffer.withUnsafeMutableBytes { out in
            while true {
                stream.pointee.next_out = out.bindMemory(to: UInt8.self).baseAddress
                stream.pointee.avail_out = UInt32(out.count)
                let code = deflate(stream, finishing ? Z_FINISH : Z_NO_FLUSH)
                guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
                    throw ExportError.compression("zlib answered \(code)")
                }
                let made = out.count - Int(stream.pointee.avail_out)
                if made > 0 { try output(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(out)[..<made])) }
                if finishing ? code == Z_STREAM_END : stream.pointee.avail_out > 0 { return }
            }
        }
    }

    private mutating func compressAll(
        _ context: OpaquePointer, _ input: UnsafeRawBufferPointer, finishing: Bool,
        _ output: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        try buffer.withUnsafeMutableBytes { out in
            while true {
                var target = ZSTD_outBuffer(dst: out.baseAddress, size: out.count, pos: 0)
                let left = ZSTD_compressStream2(context, &target, &source, finishing ? ZSTD_e_end : ZSTD_e_continue)
                guard ZSTD_isError(left) == 0 else {
                    throw ExportError.compression(String(cString: ZSTD_getErrorName(left)))
                }
                if target.pos > 0 {
                    try output(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(out)[..<target.pos]))
                }
                if finishing ? left == 0 : source.pos == source.size { return }
            }
        }
    }
}
