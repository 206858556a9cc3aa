import ClusterModel
import Testing

@testable import CacheMap

/// The end of an epoch's sequences: nobody gets there, neither by a peer's word nor by its own.
struct SequenceTests {
    /// Of a delta with hash 9, and of a position at the same place.
    private func frames(sequence: UInt32) -> (delta: [UInt8], position: [UInt8]) {
        var writer = ByteWriter()
        MapDelta(
            epoch: 1, sequence: sequence, root: UInt32(truncatingIfNeeded: MapPosition.mix(9)), isPartial: false,
            adds: [9], removes: []
        ).encode(into: &writer)
        let position = MapPosition(epoch: 1, sequence: sequence, root: 0)
        return (writer.bytes, DigestMessage.moved(position).encoded())
    }

    @Test func `the last sequence that there could be is refused in deltas and in positions, the one before is taken`()
        throws
    {
        let (last, before) = (frames(sequence: .max), frames(sequence: .max - 1))
        #expect(throws: CodecError.invalid(field: "delta sequence")) { try MapDelta(decoding: last.delta) }
        #expect(throws: CodecError.outOfRange(field: "sequence")) { try DigestMessage(decoding: last.position) }
        #expect(try MapDelta(decoding: before.delta).sequence == .max - 1)
        #expect(try DigestMessage(decoding: before.position).encoded() == before.position)
        let saved = SavedPosition(
            position: MapPosition(epoch: 1, sequence: .max, root: 0), rate: FalseHitRate(oneIn: 160))
        #expect(throws: CodecError.outOfRange(field: "sequence")) { try SavedPosition(decoding: saved.encoded()) }
    }

    @Test func `a digest that is served at the end of its sequences and a delta behind it stop nobody`() throws {
        var exchange = try mapExchange()
        _ = exchange.handle(.member(peer, isLive: true, bootID: 1, clusterSize: 2), at: start)
        let now = start + .seconds(1)
        let opened = exchange.handle(.timer, at: now)
        let fetches = opened.compactMap { if case .fetch(let id, _, _) = $0 { id } else { nil } }
        let id = try #require(fetches.first)
        let position = MapPosition(epoch: 1, sequence: .max - 1, root: 0)
        let pages = DigestPages(
            position: position, rate: FalseHitRate(oneIn: 160), isWhole: true, isFirst: true, isLast: true,
            isPartial: false, pages: [DigestPage(prefix: .whole, version: 1, content: .empty)], deltas: [])
        _ = exchange.handle(.fetched(id, DigestMessage.pages(pages).encoded()), at: now)
        _ = exchange.handle(.fetchEnded(id), at: now)
        #expect(exchange.digests.position(of: peer) == position)
        let delta = [UInt8(1)] + frames(sequence: .max).delta
        let effects = exchange.handle(.delivered(delta, from: peer), at: now)
        #expect(effects.notices == [.malformed(from: peer, .invalid(field: "delta sequence"))])
        #expect(exchange.digests.position(of: peer) == position && exchange.counters.malformed == 1)
    }

    @Test func `an owner whose epoch has no sequences left begins the next, with the same keys`() throws {
        let held = (0..<5).map { entry($0) }
        let root = try digest(keys: 0..<5).root
        let saved = SavedPosition(
            position: MapPosition(epoch: 5, sequence: .max - 2, root: root), rate: FalseHitRate(clusterSize: 1))
        var owner = CacheMapDigest(
            epoch: 1, hashKey: try hashKey(), clusterSize: 1, entries: held,
            last: try SavedPosition(decoding: saved.encoded()))
        #expect(owner.epoch == 5 && owner.sequence == .max - 2)
        owner.add(entry(5))
        #expect(owner.flush(at: start).map(\.sequence) == [.max - 1])
        owner.add(entry(6))
        #expect(owner.flush(at: start).isEmpty && owner.epoch == 6 && owner.sequence == 0)
        let grown = try digest(keys: 0..<7)
        #expect(owner.root == grown.root && !owner.hasChanges)
        owner.add(entry(7))
        #expect(owner.flush(at: start).map(\.sequence) == [1])
    }
}
