internal import CacheMap
internal import ClusterKeys
internal import ClusterModel
internal import Sodium

/// State machines that are given what has passed the decoders.
extension Registry {
    /// When rings are merged, in Unix seconds, and how long a removed key opens.
    private static let now: UInt64 = 1_800_000_000
    private static let graceSeconds: UInt64 = 3_600

    /// Messages about one owner's digest, in any order.
    static func peerDigests(_ keys: [CacheKey]) -> FuzzTarget {
        FuzzTarget(name: "peer digests", corpus: digestConversations(keys)) { bytes in
            guard let hashKey = digestHashKey else { return .failed("a hash key of 16 bytes is refused") }
            var digests = PeerDigests(hashKey: hashKey)
            let owner = PeerID(rawValue: 4)
            var isAnyTaken = false
            for bytes in MessageSequence.split(bytes) {
                guard let message = try? DigestMessage(decoding: bytes) else { continue }
                isAnyTaken = true
                switch message {
                case .delta(let delta): _ = digests.apply(delta, from: owner)
                case .pages(let pages): _ = digests.apply(pages, from: owner)
                case .moved(let position): _ = digests.observe(position, of: owner)
                case .summaries(let summaries):
                    for summary in summaries { _ = digests.observe(summary.position, of: summary.owner) }
                // Messages that an owner gets: here they stand for the beginning and the end of a fetch.
                case .request: digests.beginFetch(from: owner)
                case .summaryRequest: digests.endFetch(from: owner)
                case .buckets, .have, .haveAnswer: continue
                }
                _ = digests.holders(of: keys)
            }
            return isAnyTaken ? .decoded : .refused
        }
    }

    /// Rings of other members, merged into the first one.
    static func ringMerge() throws -> FuzzTarget {
        FuzzTarget(name: "key ring merge", corpus: try ringSequences()) { bytes in
            let rings = MessageSequence.split(bytes).compactMap { try? ClusterKeyRing(decoding: $0) }
            guard var ring = rings.first else { return .refused }
            for other in rings.dropFirst() {
                ring.merge(other, at: now, graceSeconds: graceSeconds)
                guard !ring.entries.isEmpty else { return .failed("no key is left") }
                // Members tell it to each other, and a node that starts again reads it.
                guard let again = try? ClusterKeyRing(decoding: ring.encoded()) else {
                    return .failed("the merged ring's own encoding is refused")
                }
                guard again == ring else { return .failed("the merged ring is decoded as another one") }
            }
            return .decoded
        }
    }

    private static func digestConversations(_ keys: [CacheKey]) -> [[UInt8]] {
        guard let hashKey = digestHashKey else { return [] }
        let start = MonotonicInstant.zero
        let entries = keys.map { MapEntry(key: $0, cost: 3, lastUsed: 1_700_000_000) }
        var digest = CacheMapDigest(epoch: 3, hashKey: hashKey, clusterSize: 5, entries: entries.prefix(20))
        let whole = digest.answer(.everything, at: start).map { DigestMessage.pages($0).encoded() }
        for entry in entries.dropFirst(20) { digest.add(entry) }
        let added = digest.flush(at: start).map { DigestMessage.delta($0).encoded() }
        digest.remove(keys[0])
        let removed = digest.flush(at: start).map { DigestMessage.delta($0).encoded() }
        let since = DigestRequest(epoch: 3, sequence: 0)
        let changes = digest.answer(since, at: start).map { DigestMessage.pages($0).encoded() }
        let moved = DigestMessage.moved(digest.position).encoded()
        var fresh = CacheMapDigest(epoch: 4, hashKey: hashKey, clusterSize: 5, entries: [MapEntry]())
        for entry in entries { fresh.add(entry) }
        let first = fresh.flush(at: start).map { DigestMessage.delta($0).encoded() }
        let begin = DigestMessage.request(.everything).encoded()
        let end = DigestMessage.summaryRequest.encoded()
        let conversations: [[[UInt8]]] = [
            whole + added + removed + [moved], whole + changes, whole + removed + added, first + whole,
            // Deltas that come during a fetch.
            [begin] + added + whole + removed + [end, moved],
            // Where an epoch has no sequences left.
            whole.map { with(sequence: .max - 1, $0) } + added.map { with(sequence: .max, $0) },
        ]
        return conversations.map { MessageSequence.joined($0) }
    }

    /// A delta or pages with another sequence: it is behind the tag and the epoch.
    private static func with(sequence: UInt32, _ message: [UInt8]) -> [UInt8] {
        var bytes = message
        let place = DigestMessage.tagBytes + MemoryLayout<UInt32>.size
        for index in 0..<4 { bytes[place + index] = UInt8(truncatingIfNeeded: sequence >> UInt32(24 - 8 * index)) }
        return bytes
    }

    private static func ringSequences() throws -> [[UInt8]] {
        let keys = try (0..<3).map { _ in try ClusterKey.generate() }
        func ring(_ entries: [ClusterKeyRing.Entry], removed: [KeyRank] = []) -> [UInt8] {
            ClusterKeyRing(entries: entries, removed: removed, mapKey: [UInt8](repeating: 7, count: 16)).encoded()
        }
        let first = ClusterKeyRing.Entry(key: keys[0], generation: 1)
        let removedFirst = KeyRank(fingerprint: keys[0].fingerprint, generation: 1)
        let halves = [
            ring([first, .init(key: keys[1])]),
            ring(
                [.init(key: keys[2], generation: 2), .init(key: keys[0], generation: 1, retiredUntil: now + 60)],
                removed: [removedFirst]),
        ]
        // All that a ring can remember of removed keys, each of which outranks the only key that is left.
        let many = (0..<ClusterKeyRing.removedMax).map {
            KeyRank(fingerprint: KeyFingerprint(rawValue: UInt64($0) + 1), generation: UInt64($0) + 10)
        }
        let full = [ring([first], removed: many), ring([first], removed: [removedFirst])]
        let sequences: [[[UInt8]]] = [halves, halves.reversed(), full, full.reversed()]
        return sequences.map { MessageSequence.joined($0) }
    }
}
