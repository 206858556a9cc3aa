/// What a holder and a puller of a layer or blob say to each other, one value a stream message.
///
/// ```
/// layer   puller → holder   askManifest
///         holder → puller   manifest  how long it is; packs with its bytes follow, numbered from 0
///         puller → holder   want      a number, and ranges of chunk ordinals: one pack, please
///         holder → puller   pack      the number, and the chunks' bytes one behind the other, maybe compressed
///                           part      more of the pack
///         puller → holder   askOutline  a number, and ranges of chunk ordinals: what are they made of?
///         holder → puller   outline   the number, and the pieces of all these chunks
///         puller → holder   wantPieces  a number, the same ranges, and ranges of pieces: one pack of these, please
///                           failure   why the holder cannot serve
/// blob    holder → puller   head, part, failure
/// both    holder → puller   waiting   others are served first; again and again before the first answer, never after it
/// ```
package enum TransferMessage: Sendable, Hashable {
    case head(total: Int64, ArraySlice<UInt8>)
    case part(ArraySlice<UInt8>)
    case askManifest
    case manifest(total: Int64)
    case want(request: Int, [Range<Int>])
    case pack(Pack)
    case askOutline(request: Int, [Range<Int>])
    case outline(request: Int, [ChunkOutline.Piece])
    case wantPieces(request: Int, [Range<Int>], pieces: [Range<Int>])
    case failure(String)
    case waiting

    /// How a pack's bytes are written.
    package enum Coding: UInt8, Sendable, Hashable {
        case plain = 0
        /// One zstd frame.
        case zstd
    }

    /// The beginning of a pack.
    package struct Pack: Sendable, Hashable {
        package var request: Int
        package var coding: Coding
        /// Bytes of all chunks together.
        package var plainBytes: Int
        /// Bytes that cross the link, no more than `plainBytes`.
        package var encodedBytes: Int
        /// The first of them.
        package var bytes: ArraySlice<UInt8>

        package init(request: Int, coding: Coding, plainBytes: Int, encodedBytes: Int, bytes: ArraySlice<UInt8>) {
            self.request = request
            self.coding = coding
            self.plainBytes = plainBytes
            self.encodedBytes = encodedBytes
            self.bytes = bytes
        }
    }

    /// Payload that a holder puts in one message: control messages of other streams wait for no more than this.
    package static let payloadBytesMax = 248 << 10
    /// Chunks of one request together.
    ///
    /// Bounds the memory of both sides, and is long enough for zstd and for a disk to find their stride.
    package static let packBytesMax = 4 << 20
    /// Ranges of one request: with the smallest chunks and every second one wanted, a pack of 40-byte files.
    package static let rangesMax = 16_384
    /// Numbers of requests and chunks: what the largest manifest can hold.
    package static let ordinalsMax = 1 << 24
    private static let failureBytesMax = 4_096

    private enum Tag: UInt8 {
        case head = 1, part
        case failure = 6
        case askManifest, manifest, want, pack, askOutline, outline, wantPieces, waiting
    }

    package func encoded() -> [UInt8] {
        var writer = CanonicalWriter()
        switch self {
        case .head(let total, let bytes):
            writer.append(Tag.head.rawValue)
            writer.append(number: UInt64(total))
            writer.append(bytes)
        case .part(let bytes):
            writer.append(Tag.part.rawValue)
            writer.append(bytes)
        case .askManifest: writer.append(Tag.askManifest.rawValue)
        case .manifest(let total):
            writer.append(Tag.manifest.rawValue)
            writer.append(number: UInt64(total))
        case .want(let request, let ranges), .askOutline(let request, let ranges):
            if case .want = self { writer.append(Tag.want.rawValue) } else { writer.append(Tag.askOutline.rawValue) }
            writer.append(number: UInt64(request))
            Self.encode(ranges, into: &writer)
        case .outline(let request, let pieces):
            writer.append(Tag.outline.rawValue)
            writer.append(number: UInt64(request))
            writer.append(number: UInt64(pieces.count))
            for piece in pieces {
                writer.append(number: UInt64(piece.length))
                for shift in stride(from: UInt64(56), through: 0, by: -8) {
                    writer.append(UInt8(truncatingIfNeeded: piece.key >> shift))
                }
            }
        case .wantPieces(let request, let ranges, let pieces):
            writer.append(Tag.wantPieces.rawValue)
            writer.append(number: UInt64(request))
            Self.encode(ranges, into: &writer)
            Self.encode(pieces, into: &writer)
        case .pack(let pack):
            writer.append(Tag.pack.rawValue)
            writer.append(number: UInt64(pack.request))
            writer.append(pack.coding.rawValue)
            writer.append(number: UInt64(pack.plainBytes))
            writer.append(number: UInt64(pack.encodedBytes))
            writer.append(pack.bytes)
        case .failure(let why):
            writer.append(Tag.failure.rawValue)
            writer.append(Array(why.utf8.prefix(Self.failureBytesMax)))
        case .waiting: writer.append(Tag.waiting.rawValue)
        }
        return writer.bytes
    }

    /// Decodes a message of a peer, whose length the stream has bounded; content in it shares the memory of `bytes`.
    package init(decoding bytes: [UInt8]) throws(TransferError) {
        do throws(ManifestError) {
            var reader = CanonicalReader(bytes)
            guard let tag = Tag(rawValue: try reader.byte()) else { throw .unknownFormat }
            switch tag {
            case .head:
                let total = Int64(try reader.number(atMost: UInt64(LayerManifest.contentBytesMax)))
                self = .head(total: total, try reader.take(reader.remaining))
            case .part: self = .part(try reader.take(reader.remaining))
            case .askManifest: self = .askManifest
            case .manifest: self = .manifest(total: Int64(clamping: try reader.number()))
            case .want: self = .want(request: try Self.request(&reader), try Self.ranges(&reader))
            case .askOutline: self = .askOutline(request: try Self.request(&reader), try Self.ranges(&reader))
            case .outline: self = .outline(request: try Self.request(&reader), try Self.pieces(&reader))
            case .wantPieces:
                self = .wantPieces(
                    request: try Self.request(&reader), try Self.ranges(&reader), pieces: try Self.ranges(&reader))
            case .pack: self = try .pack(Self.pack(&reader))
            case .failure:
                let text = try reader.take(min(reader.remaining, Self.failureBytesMax))
                self = .failure(String(decoding: text, as: UTF8.self))
            case .waiting: self = .waiting
            }
            guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
        } catch { throw .malformedMessage("\(error)") }
    }

    private static func encode(_ ranges: [Range<Int>], into writer: inout CanonicalWriter) {
        writer.append(number: UInt64(ranges.count))
        var position = 0
        for range in ranges {
            writer.append(number: UInt64(range.lowerBound - position))
            writer.append(number: UInt64(range.count))
            position = range.upperBound
        }
    }

    private static func request(_ reader: inout CanonicalReader) throws(ManifestError) -> Int {
        Int(try reader.number(atMost: UInt64(ordinalsMax)))
    }

    private static func ranges(_ reader: inout CanonicalReader) throws(ManifestError) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var position = 0
        for _ in 0..<Int(try reader.number(atMost: UInt64(rangesMax))) {
            let start = position + Int(try reader.number(atMost: UInt64(ordinalsMax)))
            position = start + Int(try reader.number(atMost: UInt64(ordinalsMax)))
            ranges.append(start..<position)
        }
        return ranges
    }

    private static func pieces(_ reader: inout CanonicalReader) throws(ManifestError) -> [ChunkOutline.Piece] {
        let count = Int(try reader.number(atMost: UInt64(ChunkOutline.piecesMax)))
        var pieces: [ChunkOutline.Piece] = []
        // Each takes nine bytes at least.
        pieces.reserveCapacity(min(count, reader.remaining / 9 + 1))
        for _ in 0..<count {
            let length = Int(try reader.number(atMost: UInt64(ChunkOutline.pieceBytesMax)))
            let key = try reader.take(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            pieces.append(ChunkOutline.Piece(length: length, key: key))
        }
        return pieces
    }

    private static func pack(_ reader: inout CanonicalReader) throws(ManifestError) -> Pack {
        let request = try request(&reader)
        let start = reader.position
        guard let coding = Coding(rawValue: try reader.byte()) else {
            throw .notCanonical("a pack is in an unknown coding", atByte: start)
        }
        let plain = Int(try reader.number(atMost: UInt64(packBytesMax)))
        let encoded = Int(try reader.number(atMost: UInt64(plain)))
        return Pack(
            request: request, coding: coding, plainBytes: plain, encodedBytes: encoded,
            bytes: try reader.take(reader.remaining))
    }
}
