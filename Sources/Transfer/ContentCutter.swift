package import OCI

/// Cuts a file's bytes, which come from front to back, into the pieces of `ChunkedContent`.
///
/// Takes 4 MiB of memory for a file of more than 64 KiB.
package struct ContentCutter: ~Copyable {
    /// Hashes ranges of a buffer; a shell may do so on several threads.
    package typealias HashRanges = (UnsafeRawBufferPointer, [Range<Int>]) -> [Digest]

    private static let bufferBytes = 4 << 20
    private static let block = ChunkedContent.blockBytes

    private let size: Int64
    private let hashRanges: HashRanges
    private let buffer: UnsafeMutableRawBufferPointer
    /// Bytes in the buffer; `settled` of them are whole blocks of one stretch of data, from the front.
    private var filled = 0
    private var settled = 0
    private var position: Int64 = 0
    private var pieces: [ChunkedContent.Piece] = []

    /// Takes `size` bytes in all.
    package init(size: Int64, hashRanges: @escaping HashRanges = ContentCutter.hash) {
        self.size = size
        self.hashRanges = hashRanges
        let bytes = size > Int64(Self.bufferBytes) ? Self.bufferBytes : Int(max(1, size))
        buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 64)
    }

    deinit { buffer.deallocate() }

    /// Hashes one range after the other.
    package static func hash(_ bytes: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> [Digest] {
        ranges.map { Digest.of(UnsafeRawBufferPointer(rebasing: bytes[$0])) }
    }

    /// Takes the next bytes; there are no more than `size` in all.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = min(rest.count, buffer.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest.prefix(count)))
            rest = rest.dropFirst(count)
            advance(by: count)
        }
    }

    /// Takes `count` zeros, which nobody has to read.
    package mutating func update(zeros count: Int64) {
        var rest = count
        while rest > 0 {
            let intoBlock = (position % Int64(Self.block))
            if intoBlock == 0, rest >= Int64(Self.block) || position + rest == size, size > Int64(Self.block) {
                let whole = position + rest == size ? rest : rest / Int64(Self.block) * Int64(Self.block)
                endData()
                addHole(whole)
                position += whole
                rest -= whole
                continue
            }
            let count = Int(min(rest, Int64(Self.block) - intoBlock, Int64(buffer.count - filled)))
            UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + count])
                .initializeMemory(as: UInt8.self, repeating: 0)
            advance(by: count)
            rest -= Int64(count)
        }
    }

    /// Where the next bytes can be written by whoever reads them from a file; `advance` says how many came.
    package var room: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]) }

    package mutating func advance(by count: Int) {
        filled += count
        position += Int64(count)
        guard size > Int64(Self.block) else { return }
        if filled == buffer.count || position == size { settle() }
        if filled == buffer.count { cut(isEnd: false) }
    }

    /// The content; exactly `size` bytes have come.
    package consuming func finish() -> ChunkedContent {
        precondition(position == size, "\(position) bytes of a file of \(size) were given")
        if size == 0 { return .empty }
        guard size > Int64(Self.block) else {
            return ChunkedContent(whole: hashRanges(UnsafeRawBufferPointer(buffer), [0..<filled])[0])
        }
        endData()
        return ChunkedContent(pieces: pieces)
    }

    /// Looks for blocks of zeros in what has come since the last time.
    private mutating func settle() {
        while settled < filled {
            let count = min(filled - settled, Self.block)
            guard count == Self.block || position == size else { return }
            let block = UnsafeRawBufferPointer(rebasing: buffer[settled..<settled + count])
            guard Self.isZero(block) else {
                settled += count
                continue
            }
            let rest = filled - settled - count
            let start = settled
            filled = settled
            cut(isEnd: true)
            addHole(Int64(count))
            // What follows the hole moves to the front.
            if rest > 0, let base = buffer.baseAddress {
                base.copyMemory(from: base + start + count, byteCount: rest)
            }
            filled = rest
            settled = 0
        }
    }

    private mutating func endData() {
        settle()
        cut(isEnd: true)
    }

    /// Cuts what is settled; all of it when data end here, else what cannot depend on the bytes to come.
    private mutating func cut(isEnd: Bool) {
        var ranges: [Range<Int>] = []
        var start = 0
        while start < settled, isEnd || settled - start >= FastCDC.chunkBytesMax {
            let length = FastCDC.firstChunk(of: UnsafeRawBufferPointer(rebasing: buffer[start..<settled]))
            ranges.append(start..<start + length)
            start += length
        }
        guard start > 0 else { return }
        let digests = hashRanges(UnsafeRawBufferPointer(buffer), ranges)
        for (range, digest) in zip(ranges, digests) {
            pieces.append(ChunkedContent.Piece(digest: digest, length: Int64(range.count)))
        }
        if filled > start, let base = buffer.baseAddress {
            base.copyMemory(from: base + start, byteCount: filled - start)
        }
        filled -= start
        settled -= start
    }

    private mutating func addHole(_ length: Int64) {
        if let last = pieces.last, last.digest == nil {
            pieces[pieces.count - 1] = ChunkedContent.Piece(digest: nil, length: last.length + length)
        } else {
            pieces.append(ChunkedContent.Piece(digest: nil, length: length))
        }
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let words = bytes.count / 8
        for index in 0..<words where bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) != 0 {
            return false
        }
        return bytes[(words * 8)...].allSatisfy { $0 == 0 }
    }
}
