package import OCI

/// A file's bytes as chunks and holes: equal for equal bytes, wherever and however they are stored.
///
/// Holes come from the bytes, not from the disk: each 64 KiB block, counted from the file's start, that is all zeros
/// is one. What lies between two holes is cut by `FastCDC`. A file of at most 64 KiB is one chunk.
package struct ChunkedContent: Sendable, Hashable {
    /// The next bytes of a file.
    package struct Piece: Sendable, Hashable {
        /// Nil for a hole.
        package let digest: Digest?
        /// One byte at least.
        package let length: Int64

        package init(digest: Digest?, length: Int64) {
            self.digest = digest
            self.length = length
        }
    }

    /// Files up to this are one chunk, and holes are multiples of it.
    package static let blockBytes = 64 << 10

    /// Of a file that is one chunk the SHA-256 of its bytes, else that of the list of its pieces.
    package let digest: Digest
    /// Empty for a file of at most `blockBytes`.
    package let pieces: [Piece]

    /// The content of a file of at most `blockBytes`, whose digest this is.
    package init(whole digest: Digest) {
        self.digest = digest
        pieces = []
    }

    /// The content of a longer file.
    package init(pieces: [Piece]) {
        self.pieces = pieces
        if pieces.count == 1, let only = pieces[0].digest {
            digest = only
            return
        }
        var writer = CanonicalWriter()
        writer.append(Array("PBFC".utf8))
        Self.encode(pieces, into: &writer)
        digest = Digest.of(writer.bytes)
    }

    package static let empty = ChunkedContent(whole: Digest.of([UInt8]()))

    package static func == (left: ChunkedContent, right: ChunkedContent) -> Bool { left.digest == right.digest }
    package func hash(into hasher: inout Hasher) { hasher.combine(digest) }

    /// Calls `body` with each chunk of a file of `size` bytes, in order; `index` counts holes too.
    package func forEachChunk<Failure: Error>(
        size: Int64, _ body: (_ index: Int, _ offset: Int64, _ length: Int, Digest) throws(Failure) -> Void
    ) throws(Failure) {
        guard !pieces.isEmpty else {
            if size > 0 { try body(0, 0, Int(size), digest) }
            return
        }
        var offset: Int64 = 0
        for (index, piece) in pieces.enumerated() {
            if let digest = piece.digest { try body(index, offset, Int(piece.length), digest) }
            offset += piece.length
        }
    }

    /// Why this cannot be the content of a file of `size` bytes; nil when it can.
    func fault(size: Int64) -> String? {
        let block = Int64(Self.blockBytes)
        guard size > block else {
            if size == 0, digest != Self.empty.digest { return "an empty file's digest is another" }
            return pieces.isEmpty ? nil : "a small file is in pieces"
        }
        var offset: Int64 = 0
        var afterHole = false
        for (index, piece) in pieces.enumerated() {
            guard piece.length > 0, piece.length <= size - offset else { return "its pieces are longer than the file" }
            let end = offset + piece.length
            if piece.digest == nil {
                guard offset % block == 0, end % block == 0 || end == size, !afterHole else {
                    return "a hole is not made of whole blocks"
                }
                afterHole = true
            } else {
                let isLast = index + 1 == pieces.count || pieces[index + 1].digest == nil
                guard piece.length <= Int64(FastCDC.chunkBytesMax),
                    isLast || piece.length > Int64(FastCDC.chunkBytesMin)
                else { return "a chunk of \(piece.length) bytes" }
                afterHole = false
            }
            offset = end
        }
        return offset == size ? nil : "its pieces are shorter than the file"
    }

    static func encode(_ pieces: [Piece], into writer: inout CanonicalWriter) {
        writer.append(number: UInt64(pieces.count))
        for piece in pieces {
            writer.append(number: UInt64(piece.length) << 1 | (piece.digest == nil ? 1 : 0))
            if let digest = piece.digest { writer.append(digest.bytes) }
        }
    }

    func encode(size: Int64, into writer: inout CanonicalWriter) {
        if size > Int64(Self.blockBytes) {
            Self.encode(pieces, into: &writer)
        } else if size > 0 {
            writer.append(digest.bytes)
        }
    }

    static func decode(size: Int64, _ reader: inout CanonicalReader) throws(ManifestError) -> ChunkedContent {
        if size == 0 { return .empty }
        guard size > Int64(blockBytes) else { return ChunkedContent(whole: try reader.digest()) }
        // A piece takes four bytes at least: a hole is 64 KiB or more, unless it is the last.
        let count = Int(try reader.number(atMost: UInt64(reader.remaining)))
        var pieces: [Piece] = []
        pieces.reserveCapacity(min(count, reader.remaining / 4 + 1))
        for _ in 0..<count {
            let folded = try reader.number(atMost: UInt64(size) << 1 | 1)
            pieces.append(
                Piece(digest: folded & 1 == 1 ? nil : try reader.digest(), length: Int64(folded >> 1)))
        }
        return ChunkedContent(pieces: pieces)
    }
}
