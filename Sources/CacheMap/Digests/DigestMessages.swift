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

    package static let everything = DigestRequest(epoch: 0, sequence: 0)
}

/// A part of the answer to a `DigestRequest`: deltas that follow the asker's sequence, or pages.
package struct DigestPages: Hashable, Sendable {
    /// The owner's position that the asker has after the last part.
    package let position: MapPosition
    /// What the pages promise.
    package let rate: FalseHitRate
    /// The pages replace everything that the asker has; otherwise only what they overlap.
    package let isWhole: Bool
    package let isFirst: Bool
    package let isLast: Bool
    package let isPartial: Bool
    let pages: [DigestPage]
    let deltas: [MapDelta]

    /// Below a stream message's 1 MiB.
    package static let encodedBytesMax = 1_000_000
    /// Pages in one part.
    static let pagesMax = 700
    static let deltasMax = CacheMapDigest.logMax
}

/// Where one node's digest stands, by the word of another node.
package struct MapSummary: Hashable, Sendable {
    package let owner: PeerID
    package let position: MapPosition

    package init(owner: PeerID, position: MapPosition) {
        self.owner = owner
        self.position = position
    }

    /// Encoded size in bytes.
    static let byteCount = 8 + MapPosition.byteCount

    func encode(into writer: inout ByteWriter) {
        writer.append(owner.rawValue)
        position.encode(into: &writer)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        owner = PeerID(rawValue: try reader.read())
        position = try MapPosition(from: &reader)
    }
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
    /// By gossip: a new epoch began, fetch it.
    case moved(MapPosition)
    /// By datagram: the roots of the sender's digests in `bucketCount` parts by owner.
    case buckets([UInt32])
    /// By datagram: the sender's word on the buckets that differ. By stream: on all.
    case summaries([MapSummary])
    /// By stream: asks for all summaries.
    case summaryRequest
    /// By datagram.
    case have(HaveRequest)
    /// By datagram.
    case haveAnswer(HaveAnswer)

    private enum Tag: UInt8 {
        case delta = 1
        case request, pages, moved, buckets, summaries, summaryRequest, have, haveAnswer
    }

    package static let tagBytes = 1
    package static let bucketCount = 32
    /// All members of the largest cluster.
    package static let summariesMax = 16_384

    /// Summaries that fit a datagram of `bytes`.
    package static func summaries(fitting bytes: Int) -> Int { max(0, (bytes - tagBytes - 3) / MapSummary.byteCount) }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.append(tag.rawValue)
        switch self {
        case .delta(let delta): delta.encode(into: &writer)
        case .request(let request):
            writer.append(request.epoch)
            writer.append(request.sequence)
        case .pages(let answer): answer.encode(into: &writer)
        case .moved(let position): position.encode(into: &writer)
        case .buckets(let roots): for root in roots { writer.append(root) }
        case .summaries(let summaries):
            writer.appendVarint(summaries.count)
            for summary in summaries { summary.encode(into: &writer) }
        case .summaryRequest: break
        case .have(let request): writer.append(contentsOf: request.encoded())
        case .haveAnswer(let answer): writer.append(contentsOf: answer.encoded())
        }
        return writer.bytes
    }

    private var tag: Tag {
        switch self {
        case .delta: .delta
        case .request: .request
        case .pages: .pages
        case .moved: .moved
        case .buckets: .buckets
        case .summaries: .summaries
        case .summaryRequest: .summaryRequest
        case .have: .have
        case .haveAnswer: .haveAnswer
        }
    }

    package init(decoding bytes: [UInt8]) throws(CodecError) {
        guard bytes.count <= DigestPages.encodedBytesMax else { throw .outOfRange(field: "digest message") }
        var reader = ByteReader(bytes)
        guard let tag = Tag(rawValue: try reader.read()) else { throw .invalid(field: "digest message") }
        switch tag {
        case .delta: self = .delta(try MapDelta(from: &reader))
        case .request: self = .request(DigestRequest(epoch: try reader.read(), sequence: try reader.read()))
        case .pages: self = .pages(try DigestPages(from: &reader))
        case .moved:
            let position = try MapPosition(from: &reader)
            guard position.epoch > 0 else { throw .invalid(field: "epoch") }
            self = .moved(position)
        case .buckets:
            var roots: [UInt32] = []
            for _ in 0..<Self.bucketCount { roots.append(try reader.read()) }
            self = .buckets(roots)
        case .summaries:
            let count = try reader.readVarint("summaries", limit: Self.summariesMax)
            guard reader.remaining == count * MapSummary.byteCount else { throw .truncated }
            var summaries: [MapSummary] = []
            summaries.reserveCapacity(count)
            for _ in 0..<count { summaries.append(try MapSummary(from: &reader)) }
            self = .summaries(summaries)
        case .summaryRequest: self = .summaryRequest
        case .have: self = .have(try HaveRequest(decoding: try reader.read(count: reader.remaining)))
        case .haveAnswer: self = .haveAnswer(try HaveAnswer(decoding: try reader.read(count: reader.remaining)))
        }
        try reader.finish()
    }
}

extension DigestPages {
    private enum Flag {
        static let whole: UInt8 = 1
        static let first: UInt8 = 2
        static let last: UInt8 = 4
        static let partial: UInt8 = 8
    }

    fileprivate func encode(into writer: inout ByteWriter) {
        position.encode(into: &writer)
        writer.appendVarint(rate.oneIn)
        writer.append(
            (isWhole ? Flag.whole : 0) | (isFirst ? Flag.first : 0) | (isLast ? Flag.last : 0)
                | (isPartial ? Flag.partial : 0))
        writer.appendVarint(pages.count)
        for page in pages { page.encode(into: &writer) }
        writer.appendVarint(deltas.count)
        for delta in deltas { delta.encode(into: &writer) }
    }

    fileprivate init(from reader: inout ByteReader) throws(CodecError) {
        position = try MapPosition(from: &reader)
        guard position.epoch > 0 else { throw .invalid(field: "epoch") }
        let oneIn = try reader.readVarint("rate", limit: FalseHitRate.oneInMax)
        guard oneIn >= 2 else { throw .outOfRange(field: "rate") }
        rate = FalseHitRate(oneIn: oneIn)
        let flags: UInt8 = try reader.read()
        guard flags < 16 else { throw .invalid(field: "digest flags") }
        isWhole = flags & Flag.whole != 0
        isFirst = flags & Flag.first != 0
        isLast = flags & Flag.last != 0
        isPartial = flags & Flag.partial != 0
        var pages: [DigestPage] = []
        for _ in 0..<(try reader.readVarint("pages", limit: Self.pagesMax)) {
            pages.append(try DigestPage(from: &reader))
        }
        var deltas: [MapDelta] = []
        for _ in 0..<(try reader.readVarint("deltas", limit: Self.deltasMax)) {
            deltas.append(try MapDelta(from: &reader))
        }
        self.pages = pages
        self.deltas = deltas
    }
}
