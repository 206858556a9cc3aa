internal import CacheMap
internal import ClusterModel

/// How long 100 keys take to look up among the digests of all nodes.
package struct LookupTiming: Sendable {
    let nodes: Int
    let keys: Int
    private static let asked = 100
    private static let rounds = 200

    package init(nodes: Int, keys: Int) {
        self.nodes = nodes
        self.keys = keys
    }

    /// `clock` gives nanoseconds.
    package func run(_ clock: () -> Int64) -> JSONText {
        guard let hashKey = MapHashKey(bytes: [UInt8](repeating: 3, count: 16)) else { return .null }
        var settings = CacheMapDigest.Settings()
        settings.budget = .max / 1_000_000
        var digests = PeerDigests(hashKey: hashKey)
        for node in 0..<nodes {
            var digest = CacheMapDigest(
                epoch: 1, hashKey: hashKey, clusterSize: nodes,
                entries: (0..<keys).map {
                    MapEntry(key: CacheMapSimulation.key(node * keys + $0), cost: 1, lastUsed: 0)
                }, settings: settings)
            for part in digest.answer(.everything, at: .zero) {
                _ = digests.apply(part, from: PeerID(rawValue: UInt64(node)))
            }
            // Some changes since the pages, as there are on a node that lives.
            for number in 0..<100 {
                digest.add(MapEntry(key: CacheMapSimulation.key(1 << 42 + node * 100 + number), cost: 1, lastUsed: 0))
            }
            for delta in digest.flush(at: .zero) { _ = digests.apply(delta, from: PeerID(rawValue: UInt64(node))) }
        }
        var times: [Int64] = []
        var found = 0
        for round in 0..<Self.rounds {
            // Half of the keys are held by somebody.
            let wanted = (0..<Self.asked).map { index in
                CacheMapSimulation.key(
                    index.isMultiple(of: 2) ? (round * 7_919 + index * 104_729) % max(1, nodes * keys) : 1 << 43 + index
                )
            }
            let begin = clock()
            found += digests.holders(of: wanted).count { !$0.isEmpty }
            times.append(clock() - begin)
        }
        times.sort()
        return .object([
            ("keysAsked", .number(Double(Self.asked))), ("nodes", .number(Double(nodes))),
            ("keysPerNode", .number(Double(keys))), ("rounds", .number(Double(Self.rounds))),
            ("found", .number(Double(found))),
            ("medianMicroseconds", .number(Double(times[times.count / 2]) / 1_000)),
            ("p99Microseconds", .number(Double(times[times.count * 99 / 100]) / 1_000)),
        ])
    }
}
