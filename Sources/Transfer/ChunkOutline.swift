internal import OCI

/// What a chunk is made of: the pieces that content cuts it into, each known by a short hash.
///
/// A puller that has an old version of a file asks for the outlines of the chunks that changed, and then for the pieces
/// that the old version has not. Outlines belong to no format on disk: the chunk that comes of them is checked by its
/// own digest, and one that is wrong is pulled whole, so that the hash need not resist an attack.
package enum ChunkOutline {
    /// One piece of a chunk.
    package struct Piece: Sendable, Hashable {
        package let length: Int
        /// The first 8 bytes of the SHA-256.
        package let key: UInt64

        package init(length: Int, key: UInt64) {
            self.length = length
            self.key = key
        }
    }

    /// Smaller chunks are pulled whole.
    package static let chunkBytesMin = 4 << 10
    /// Pieces of 1 KiB cost 1 % of the chunk in its outline, and what changed in one stretch takes about one more of them
    /// on either side.
    package static let pieceBytesMin = 512
    private static let pieceBytesAverage = 1 << 10
    package static let pieceBytesMax = 4 << 10
    /// Pieces of one request: a pack of the smallest, and the last one of each chunk.
    package static let piecesMax =
        TransferMessage.packBytesMax / pieceBytesMin + TransferMessage.packBytesMax / chunkBytesMin

    private static let sizes = FastCDC.Sizes(
        minimum: pieceBytesMin, average: pieceBytesAverage, maximum: pieceBytesMax)

    /// The lengths of a chunk's pieces.
    package static func lengths(of chunk: UnsafeRawBufferPointer) -> [Int] {
        var lengths: [Int] = []
        lengths.reserveCapacity(chunk.count / pieceBytesAverage + 1)
        var start = 0
        while start < chunk.count {
            let length = FastCDC.first(of: UnsafeRawBufferPointer(rebasing: chunk[start...]), sizes)
            lengths.append(length)
            start += length
        }
        return lengths
    }

    /// A chunk's pieces.
    package static func pieces(of chunk: UnsafeRawBufferPointer) -> [Piece] {
        var start = 0
        return lengths(of: chunk).map { length in
            let digest = Digest.of(UnsafeRawBufferPointer(rebasing: chunk[start..<start + length]))
            start += length
            return Piece(length: length, key: digest.bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
        }
    }
}

/// Pieces of old versions that a puller has, by what they are known by.
package struct KnownPieces: Sendable {
    /// Where a piece stands in the bytes that were given.
    private var places: [ChunkOutline.Piece: Int] = [:]
    private var bytes: [UInt8] = []

    package init() {}

    /// Adds a chunk of an old version.
    package mutating func add(_ chunk: UnsafeRawBufferPointer) {
        var start = bytes.count
        for piece in ChunkOutline.pieces(of: chunk) {
            places[piece] = start
            start += piece.length
        }
        bytes.append(contentsOf: chunk)
    }

    fileprivate func contains(_ piece: ChunkOutline.Piece) -> Bool { places[piece] != nil }

    fileprivate func append(_ piece: ChunkOutline.Piece, to chunk: inout [UInt8]) -> Bool {
        guard let start = places[piece] else { return false }
        chunk += bytes[start..<start + piece.length]
        return true
    }
}

/// Chunks of one request, put together of old pieces and new ones.
package struct ChunkMerge: Sendable {
    private let chunkLengths: [Int]
    private let pieces: [ChunkOutline.Piece]
    private let known: KnownPieces
    /// Which pieces have to come, as positions among all pieces of the request.
    package let wanted: [Range<Int>]
    package let wantedBytes: Int

    /// Takes a holder's answer for chunks of these lengths.
    ///
    /// - Throws: `TransferError` when the pieces are not as long as the chunks.
    package init(
        _ pieces: [ChunkOutline.Piece], chunkLengths: [Int], known: KnownPieces
    ) throws(TransferError) {
        var wanted: [Range<Int>] = []
        var bytes = 0
        var next = pieces.startIndex
        for length in chunkLengths {
            var rest = length
            while rest > 0 {
                guard next < pieces.endIndex, pieces[next].length > 0, pieces[next].length <= rest else {
                    throw .malformedMessage("an outline of another length than its chunks")
                }
                rest -= pieces[next].length
                next += 1
            }
        }
        guard next == pieces.endIndex else { throw .malformedMessage("an outline longer than its chunks") }
        for (index, piece) in pieces.enumerated() where !known.contains(piece) {
            bytes += piece.length
            if let last = wanted.last, last.upperBound == index {
                wanted[wanted.count - 1] = last.lowerBound..<index + 1
            } else {
                wanted.append(index..<index + 1)
            }
        }
        self.pieces = pieces
        self.chunkLengths = chunkLengths
        self.known = known
        self.wanted = wanted
        wantedBytes = bytes
    }

    /// The chunks, in order, from the bytes of the wanted pieces; nobody has checked them.
    package func chunks(with new: some Collection<UInt8>) -> [[UInt8]] {
        var rest = new[...]
        var next = pieces.startIndex
        return chunkLengths.map { length in
            var chunk: [UInt8] = []
            chunk.reserveCapacity(length)
            while chunk.count < length, next < pieces.endIndex {
                let piece = pieces[next]
                next += 1
                if known.append(piece, to: &chunk) { continue }
                chunk += rest.prefix(piece.length)
                rest = rest.dropFirst(piece.length)
            }
            return chunk
        }
    }
}
