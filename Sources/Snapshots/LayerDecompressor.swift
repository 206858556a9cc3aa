internal import CZlib
internal import CZstd
internal import ContentStore

/// Decompresses gzip and zstd, told apart by their first bytes; anything else passes as it is.
///
/// Not thread-safe. Members and frames that follow each other are one stream, as their formats say.
final class LayerDecompressor {
    private enum Codec {
        case plain
        case gzip(UnsafeMutablePointer<z_stream>)
        case zstd(OpaquePointer)
    }

    /// Larger windows would let a blob of a few bytes take gigabytes of memory (zstd's own default limit).
    private static let windowLogMax: Int32 = 27
    private static let inputBytes = 256 << 10

    private let source: any ByteSource
    private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: inputBytes, alignment: 16)
    private var available: Range<Int> = 0..<0
    private var codec: Codec?
    private var sourceEnded = false
    /// Whether the compressed stream may end here: no member or frame is open.
    private var isAtBoundary = true

    init(_ source: any ByteSource) { self.source = source }

    deinit {
        input.deallocate()
        switch codec {
        case .gzip(let stream):
            inflateEnd(stream)
            stream.deallocate()
        case .zstd(let context): ZSTD_freeDCtx(context)
        case .plain, nil: break
        }
    }

    /// Fills the start of `output`; 0 only at the end.
    func read(into output: UnsafeMutableRawBufferPointer) throws -> Int {
        if codec == nil { try detect() }
        while true {
            if available.isEmpty { try refill() }
            if available.isEmpty {
                guard isAtBoundary else { throw ArchiveError.compression("it ends too early") }
                return 0
            }
            let count: Int
            switch codec {
            case .gzip(let stream): count = try inflate(stream, output)
            case .zstd(let context): count = try decompress(context, output)
            case .plain, nil:
                count = min(available.count, output.count)
                output.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[available.prefix(count)]))
                available = available.lowerBound + count..<available.upperBound
            }
            if count > 0 { return count }
        }
    }

    private func refill() throws {
        guard !sourceEnded else { return }
        let count = try source.read(into: input)
        sourceEnded = count == 0
        available = 0..<count
    }

    private func detect() throws {
        while available.count < 4, !sourceEnded {
            let rest = UnsafeMutableRawBufferPointer(rebasing: input[available.upperBound...])
            let count = try source.read(into: rest)
            sourceEnded = count == 0
            available = 0..<available.upperBound + count
        }
        let magic = [UInt8](input[available.prefix(4)])
        if magic.starts(with: [0x1F, 0x8B]) {
            let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
            stream.initialize(to: z_stream())
            // 15 bits of window and 16 for the gzip wrapper, as zlib.h has it.
            let code = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
            guard code == Z_OK else {
                stream.deallocate()
                throw ArchiveError.compression("zlib cannot start (\(code))")
            }
            codec = .gzip(stream)
            isAtBoundary = false
        } else if magic == [0x28, 0xB5, 0x2F, 0xFD]
            || (magic.count == 4 && magic[0] & 0xF0 == 0x50
                && magic[1...] == [0x2A, 0x4D, 0x18])
        {
            guard let context = ZSTD_createDCtx() else { throw ArchiveError.compression("zstd has no memory") }
            ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.windowLogMax)
            codec = .zstd(context)
            isAtBoundary = false
        } else {
            codec = .plain
        }
    }

    private func inflate(
        _ stream: UnsafeMutablePointer<z_stream>, _ output: UnsafeMutableRawBufferPointer
    ) throws -> Int {
        if isAtBoundary {
            // Another member, or padding, which gzip ignores too.
            guard input[available.lowerBound] == 0x1F else {
                available = available.upperBound..<available.upperBound
                return 0
            }
            inflateReset(stream)
            isAtBoundary = false
        }
        stream.pointee.next_in = input.baseAddress?.advanced(by: available.lowerBound)
            .assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_in = UInt32(available.count)
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(min(output.count, Int(UInt32.max)))
        let offered = Int(stream.pointee.avail_out)
        let code = CZlib.inflate(stream, Z_NO_FLUSH)
        available = available.upperBound - Int(stream.pointee.avail_in)..<available.upperBound
        guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
            let why = stream.pointee.msg.map { String(cString: $0) } ?? "zlib error \(code)"
            throw ArchiveError.compression("gzip: \(why)")
        }
        if code == Z_STREAM_END { isAtBoundary = true }
        return offered - Int(stream.pointee.avail_out)
    }

    private func decompress(_ context: OpaquePointer, _ output: UnsafeMutableRawBufferPointer) throws -> Int {
        var source = ZSTD_inBuffer(src: input.baseAddress, size: available.upperBound, pos: available.lowerBound)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let code = ZSTD_decompressStream(context, &target, &source)
        guard ZSTD_isError(code) == 0 else {
            throw ArchiveError.compression("zstd: \(String(cString: ZSTD_getErrorName(code)))")
        }
        available = source.pos..<available.upperBound
        isAtBoundary = code == 0
        return target.pos
    }
}
