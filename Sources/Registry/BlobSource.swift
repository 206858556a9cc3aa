internal import NIOCore

/// A blob that can be read from any place, as often as a transfer is tried.
package struct BlobSource: Sendable {
    /// Length in bytes.
    package var size: Int64
    /// Reads at most `count` bytes at `offset`; fewer than one byte only at the end.
    package var read: @Sendable (_ offset: Int64, _ count: Int) throws -> [UInt8]

    package init(size: Int64, read: @escaping @Sendable (_ offset: Int64, _ count: Int) throws -> [UInt8]) {
        self.size = size
        self.read = read
    }

    /// A blob in memory.
    package init(_ bytes: [UInt8]) {
        self.init(size: Int64(bytes.count)) { offset, count in
            Array(bytes[min(Int(offset), bytes.count)..<min(Int(offset) + count, bytes.count)])
        }
    }
}

/// A blob as the body of a request.
struct BlobPieces: AsyncSequence, Sendable {
    private static let pieceBytes = 256 << 10

    var source: BlobSource
    var sent: @Sendable (_ offset: Int64) -> Void

    struct Iterator: AsyncIteratorProtocol {
        var source: BlobSource
        var sent: @Sendable (_ offset: Int64) -> Void
        var offset: Int64 = 0

        mutating func next() async throws -> ByteBuffer? {
            guard offset < source.size else { return nil }
            let count = Int(Swift.min(Int64(BlobPieces.pieceBytes), source.size - offset))
            let bytes = try source.read(offset, count)
            guard !bytes.isEmpty else { return nil }
            offset += Int64(bytes.count)
            sent(offset)
            return ByteBuffer(bytes: bytes)
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(source: source, sent: sent) }
}
