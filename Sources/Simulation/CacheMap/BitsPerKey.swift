internal import CacheMap
internal import ClusterModel

/// Sizes of a digest in its encodings at 1 % and 0.1 %, and its measured false hits.
struct BitsPerKey: Sendable {
    let keys: Int
    let packetLimit: Int

    /// Envelope, frame, origin, boot and number of a record of gossip.
    private static let packetOverhead = 44 + 3 + 20
    private static let questions = 1_000_000

    var json: JSONText {
        .object([
            ("onePercent", row(oneIn: 100)), ("onePerMille", row(oneIn: 1_000)),
        ])
    }

    private func row(oneIn: Int) -> JSONText {
        .object(
            DigestPage.Encoding.allCases.map { encoding in
                (encoding.rawValue, measure(oneIn: oneIn, encoding))
            })
    }

    private func measure(oneIn: Int, _ encoding: DigestPage.Encoding) -> JSONText {
        guard let hashKey = MapHashKey(bytes: [UInt8](repeating: 5, count: 16)) else { return .null }
        var settings = CacheMapDigest.Settings()
        settings.encoding = encoding
        settings.budget = .max / 1_000_000
        settings.fixedRate = FalseHitRate(oneIn: oneIn)
        settings.pageBytes = packetLimit - Self.packetOverhead
        var digest = CacheMapDigest(
            epoch: 1, hashKey: hashKey, clusterSize: 1,
            entries: (0..<keys).map { MapEntry(key: CacheMapSimulation.key($0), cost: 1, lastUsed: 0) },
            settings: settings)
        let pages = digest.pages().map { $0.encoded().count }
        let bytes = pages.reduce(0, +)
        var replica = PeerDigests(hashKey: hashKey)
        let owner = PeerID(rawValue: 1)
        var streamed = 0
        for part in digest.answer(.everything, at: .zero) {
            streamed += DigestMessage.pages(part).encoded().count
            _ = replica.apply(part, from: owner)
        }
        let hits = (0..<Self.questions).count { replica.mayHold(owner, CacheMapSimulation.key($0 + 1 << 41)) }
        let bits = 8.0 / Double(keys)
        return .object([
            ("pages", .number(Double(bytes) * bits)), ("byStream", .number(Double(streamed) * bits)),
            ("onePacketAPage", .number(Double(bytes + pages.count * Self.packetOverhead) * bits)),
            ("keysPerPage", .number(Double(keys) / Double(max(1, pages.count)))),
            ("falseHitRatio", .number(Double(hits) * Double(oneIn) / Double(Self.questions))),
        ])
    }
}
