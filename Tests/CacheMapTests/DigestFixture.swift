import ClusterModel
import OCI
import Testing

@testable import CacheMap

let peer = PeerID(rawValue: 7)
let start = MonotonicInstant(nanoseconds: 1_000_000_000_000)

func hashKey() throws -> MapHashKey { try #require(MapHashKey(bytes: (0..<16).map(UInt8.init))) }

/// Distinct keys without hashing: digests of 32 mixed bytes.
func mapKey(_ number: Int) -> CacheKey {
    var bytes: [UInt8] = []
    for word in 0..<4 {
        let mixed = SplitMix64.mix(UInt64(number) &* 4 &+ UInt64(word) &+ 1)
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: mixed >> UInt64(shift)))
        }
    }
    return CacheKey(Digest(bytes: bytes) ?? Digest.of([]))
}

func entry(_ number: Int, cost: Double = 1, lastUsed: Int64 = 0) -> MapEntry {
    MapEntry(key: mapKey(number), cost: cost, lastUsed: lastUsed)
}

func digest(
    keys: Range<Int>, clusterSize: Int = 64, epoch: UInt32 = 1,
    _ change: (inout CacheMapDigest.Settings) -> Void = { _ in }
) throws -> CacheMapDigest {
    var settings = CacheMapDigest.Settings()
    settings.budget = 1_000_000
    change(&settings)
    return CacheMapDigest(
        epoch: epoch, hashKey: try hashKey(), clusterSize: clusterSize, entries: keys.map { entry($0) },
        settings: settings)
}

extension PeerDigests {
    /// Fetches what `request` lacks; every message goes through its encoding.
    mutating func repair(from owner: inout CacheMapDigest, _ request: DigestRequest) throws {
        beginFetch(from: peer)
        for answer in owner.answer(request, at: start) {
            guard case .pages(let read) = try DigestMessage(decoding: DigestMessage.pages(answer).encoded()) else {
                Issue.record("no pages")
                return
            }
            let outcome = apply(read, from: peer)
            #expect(outcome == .applied)
        }
        endFetch(from: peer)
    }

    mutating func take(_ deltas: [MapDelta]) throws {
        for delta in deltas {
            let bytes = DigestMessage.delta(delta).encoded()
            #expect(bytes.count <= 1_000)
            guard case .delta(let read) = try DigestMessage(decoding: bytes) else {
                Issue.record("no delta")
                return
            }
            let outcome = apply(read, from: peer)
            #expect(outcome == .applied)
        }
    }

    func falseHits(_ questions: Range<Int>) -> Int { questions.count { mayHold(peer, mapKey($0)) } }
}

/// The most false hits that `rate` explains in so many questions: 10 % and three standard deviations of a count.
func falseHitsMax(_ rate: Double, _ questions: Int) -> Double {
    let expected = rate * Double(questions)
    return 1.1 * expected + 3 * expected.squareRoot()
}

let ownID = PeerID(rawValue: 1_000)

/// What node `ownID` says and hears of maps, with an own digest of fixed false-hit rate.
func mapExchange(keys: Range<Int> = 0..<0) throws -> MapExchange {
    MapExchange(
        selfID: ownID,
        own: try digest(keys: keys) { $0.fixedRate = FalseHitRate(oneIn: 640) }, hashKey: try hashKey())
}

extension [MapExchange.Effect] {
    var directs: [[UInt8]] { compactMap { if case .direct(let bytes, _) = $0 { bytes } else { nil } } }
    var notices: [MapNotice] { compactMap { if case .notice(let notice) = $0 { notice } else { nil } } }
}
