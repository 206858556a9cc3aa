/// What a holder and a puller of a layer or blob say to each other, one value a stream message.
///
/// ```
/// puller → holder   want    ranges of entry indices, in any number of messages; the last one says so
/// holder → puller   head    total bytes of manifest or blob, and a first part of it
///                   part    more of it
///                   content pieces of wanted files: entry index, offset, bytes
///                   end     all that was wanted has been sent
///                   failure why it has not
/// ```
package enum TransferMessage: Sendable, Hashable {
    case head(total: Int64, [UInt8])
    case part([UInt8])
    case want([Range<Int>], isLast: Bool)
    case content([Piece])
    case end
    case failure(String)

    /// Bytes of one file from `offset` on.
    ///
    /// A hole is left out; an empty piece at the file's end closes one that ends in a hole.
    package struct Piece: Sendable, Hashable {
        package var entry: Int
        package var offset: Int64
        package var bytes: ArraySlice<UInt8>

        package init(entry: Int, offset: Int64, bytes: ArraySlice<UInt8>) {
            self.entry = entry
            self.offset = offset
            self.bytes = bytes
        }
    }

    /// Payload that a holder puts in one message: control messages of other streams wait for no more than this.
    package static let payloadBytesMax = 248 << 10
    /// A `want` message holds at most so many ranges.
    package static let rangesMax = 8_192
    private static let failureBytesMax = 4_096

    private enum Tag: UInt8 {
        case head = 1, part, want, content, end, failure
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
        case .want(let ranges, let isLast):
            writer.append(Tag.want.rawValue)
            writer.append(isLast ? 1 : 0)
            writer.append(number: UInt64(ranges.count))
            for range in ranges {
                writer.append(number: UInt64(range.lowerBound))
                writer.append(number: UInt64(range.count))
            }
        case .content(let pieces):
            writer.append(Tag.content.rawValue)
            for piece in pieces {
                writer.append(number: UInt64(piece.entry))
                writer.append(number: UInt64(piece.offset))
                writer.append(counted: piece.bytes)
            }
        case .end: writer.append(Tag.end.rawValue)
        case .failure(let why):
            writer.append(Tag.failure.rawValue)
            writer.append(Array(why.utf8.prefix(Self.failureBytesMax)))
        }
        return writer.bytes
    }

    /// Decodes a message of a peer, whose length the stream has bounded.
    package init(decoding bytes: [UInt8]) throws(TransferError) {
        do throws(ManifestError) {
            var reader = CanonicalReader(bytes)
            guard let tag = Tag(rawValue: try reader.byte()) else { throw .unknownFormat }
            switch tag {
            case .head:
                let total = Int64(try reader.number(atMost: UInt64(LayerManifest.contentBytesMax)))
                self = .head(total: total, [UInt8](try reader.take(reader.remaining)))
            case .part: self = .part([UInt8](try reader.take(reader.remaining)))
            case .want:
                let isLast = try reader.byte() == 1
                var ranges: [Range<Int>] = []
                for _ in 0..<Int(try reader.number(atMost: UInt64(Self.rangesMax))) {
                    let start = Int(try reader.number(atMost: UInt64(LayerManifest.entriesMax)))
                    ranges.append(start..<start + Int(try reader.number(atMost: UInt64(LayerManifest.entriesMax))))
                }
                self = .want(ranges, isLast: isLast)
            case .content:
                var pieces: [Piece] = []
                while reader.remaining > 0 {
                    let entry = Int(try reader.number(atMost: UInt64(LayerManifest.entriesMax)))
                    let offset = Int64(try reader.number(atMost: UInt64(LayerManifest.contentBytesMax)))
                    let count = Int(try reader.number(atMost: UInt64(reader.remaining)))
                    pieces.append(Piece(entry: entry, offset: offset, bytes: try reader.take(count)))
                }
                self = .content(pieces)
            case .end: self = .end
            case .failure:
                let text = try reader.take(min(reader.remaining, Self.failureBytesMax))
                self = .failure(String(decoding: text, as: UTF8.self))
            }
        } catch { throw .malformedMessage("\(error)") }
    }
}
