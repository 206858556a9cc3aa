internal import ContentStore
internal import OCI

/// The decompressed bytes of an archive, counted, bounded and hashed.
final class ArchiveStream {
    private let decompressor: LayerDecompressor
    private let maximum: Int64
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 512 << 10, alignment: 4_096)
    private var available: Range<Int> = 0..<0
    private var hasher = DigestHasher()
    /// Bytes taken so far.
    private(set) var position: Int64 = 0
    private var produced: Int64 = 0

    init(_ source: any ByteSource, maximum: Int64) {
        decompressor = LayerDecompressor(source)
        self.maximum = maximum
    }

    deinit { buffer.deallocate() }

    /// Gives the next bytes, `count` at most and one at least, to `body`; false at the end.
    func take(atMost count: Int64, _ body: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        if available.isEmpty {
            let filled = try decompressor.read(into: buffer)
            guard filled > 0 else { return false }
            produced += Int64(filled)
            guard produced <= maximum else { throw ArchiveError.tooLarge(maximum: maximum) }
            hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<filled]))
            available = 0..<filled
        }
        let taken = Int(min(Int64(available.count), count))
        let piece = UnsafeRawBufferPointer(rebasing: buffer[available.lowerBound..<available.lowerBound + taken])
        available = available.lowerBound + taken..<available.upperBound
        position += Int64(taken)
        try body(piece)
        return true
    }

    /// Exactly `count` bytes in pieces.
    func read(_ count: Int64, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        var rest = count
        while rest > 0 {
            let isMore = try take(atMost: rest) { piece in
                rest -= Int64(piece.count)
                try body(piece)
            }
            guard isMore else { throw ArchiveError.truncated(atByte: position) }
        }
    }

    /// Exactly `count` bytes; the caller has bounded it.
    func bytes(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        try read(Int64(count)) { bytes.append(contentsOf: $0) }
        return bytes
    }

    /// Reads on to the end; returns the digest of all.
    func finish() throws -> Digest {
        while try take(atMost: .max, { _ in }) {}
        return hasher.finish()
    }
}
