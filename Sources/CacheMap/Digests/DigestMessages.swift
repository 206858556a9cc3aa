package import ClusterModel

/// "Send me your digest": what the asker has of it.
package struct DigestRequest: Hashable, Sendable {
    /// 0 when the asker has nothing; owners' epochs begin at 1.
    package let epoch: UInt32
    package let sequence: UInt32

    package init(epoch: UInt32, sequence: UInt32) {
        self.epoch = epoch
        self.sequence = sequence
    }
}

/// A part of the answer to a `DigestRequest`: deltas that follow the asker's sequence, or pages.
package struct DigestPages: Hashable, Sendable {
    package let epoch: UInt32
    /// The owner's sequence that the asker has after the last part.
    package let sequence: UInt32
    /// The pages replace everything that the asker has; otherwise only what they overlap.
    package let isWhole: Bool
    package let isFirst: Bool
    package let isLast: Bool
    let pages: [DigestPage]
    let deltas: [MapDelta]

    /// Below a stream message's 1 MiB.
    package static let encodedBytesMax = 1_000_000
    /// Pages in one part.
    static let pagesMax = 900
    static let deltasMax = 900
}

/// A message about digests.
///
/// The first byte says which.
package enum DigestMessage: Hashable, Sendable {
    /// By gossip: one user record.
    case delta(MapDelta)
    /// By stream.
    case request(DigestRequest)
    /// By stream.
    case pages(DigestPages)

    private enum Tag: UInt8 { case delta = 1, request, pages }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        switch self {
        case .delta(let delta):
            writer.append(Tag.delta.rawValue)
            delta.encode(into: &writer)
        case .request(let request):
            writer.append(Tag.request.rawValue)
            writer.append(request.epoch)
            writer.append(request.sequence)
        case .pages(let answer):
            writer.append(Tag.pages.rawValue)
            writer.append(answer.epoch)
            writer.append(answer.sequence)
            writer.append(UInt8(answer.isWhole ? 1 : 0) | UInt8(answer.isFirst ? 2 : 0) | UInt8(answer.isLast ? 4 : 0))
            writer.appendVarint(answer.pages.count)
            for page in answer.pages { page.encode(into: &writer) }
            writer.appendVarint(answer.deltas.count)
            for delta in answer.deltas { delta.encode(into: &writer) }
        }
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(CodecError) {
        guard bytes.count <= DigestPages.encodedBytesMax else { throw .outOfRange(field: "digest message") }
        var reader = ByteReader(bytes)
        guard let tag = Tag(rawValue: try reader.read()) else { throw .invalid(field: "digest message") }
        switch tag {
        case .delta: self = .delta(try MapDelta(from: &reader))
        case .request: self = .request(DigestRequest(epoch: try reader.read(), sequence: try reader.read()))
        case .pages:
            let epoch: UInt32 = try reader.read()
            let sequence: UInt32 = try reader.read()
            let flags: UInt8 = try reader.read()
            guard flags <= 7 else { throw .invalid(field: "digest flags") }
            var pages: [DigestPage] = []
            for _ in 0..<(try reader.readVarint("pages", limit: DigestPages.pagesMax)) {
                pages.append(try DigestPage(from: &reader))
            }
            var deltas: [MapDelta] = []
            for _ in 0..<(try reader.readVarint("deltas", limit: DigestPages.deltasMax)) {
                deltas.append(try MapDelta(from: &reader))
            }
            self = .pages(
                DigestPages(
                    epoch: epoch, sequence: sequence, isWhole: flags & 1 != 0, isFirst: flags & 2 != 0,
                    isLast: flags & 4 != 0, pages: pages, deltas: deltas))
        }
        try reader.finish()
    }
}
