import ClusterModel
import OCI
import Testing

@testable import CacheMap

/// Bounds of messages, questions and leases, to the last one that is taken.
struct BoundsTests {
    private let other = PeerID(rawValue: 8)

    /// A message of pages, as a peer that keeps to no bound would send it.
    private func pages(
        _ pages: Int, deltas: Int = 0, epoch: UInt32 = 1, oneIn: Int = 160, flags: UInt8 = 7, padding: Int = 0
    ) -> [UInt8] {
        var writer = ByteWriter()
        writer.append(UInt8(3))
        MapPosition(epoch: epoch, sequence: 1, root: 0).encode(into: &writer)
        writer.appendVarint(oneIn)
        writer.append(flags)
        writer.appendVarint(pages)
        var rest = padding
        for _ in 0..<pages {
            // Longer numbers of a version fill the message up to the byte.
            let extra = min(4, rest)
            rest -= extra
            writer.append(UInt8(0))
            writer.appendVarint(1 << (7 * extra))
            writer.append(UInt8(1))
            writer.append(UInt8(9))
            writer.appendBlock([UInt8](repeating: 0xFF, count: padding > 0 ? 1_400 : 1))
        }
        writer.appendVarint(deltas)
        for number in 1..<UInt32(deltas + 1) {
            MapDelta(epoch: 1, sequence: number, root: 0, isPartial: false, adds: [number], removes: [])
                .encode(into: &writer)
        }
        return writer.bytes
    }

    @Test func `an answer has 700 pages and 1,024 deltas at most, of a real history and rate`() throws {
        for (bytes, isFine) in [
            (pages(700), true), (pages(701), false), (pages(0, deltas: 1_024), true),
            (pages(0, deltas: 1_025), false), (pages(1, epoch: 0), false), (pages(1, oneIn: 2), true),
            (pages(1, oneIn: 1), false), (pages(1, oneIn: 655_360), true), (pages(1, oneIn: 655_361), false),
            (pages(1, flags: 15), true), (pages(1, flags: 16), false), (pages(1, flags: 0), true),
        ] {
            #expect(((try? DigestMessage(decoding: bytes)) != nil) == isFine, "\(bytes.count) bytes")
        }
    }

    @Test func `a message has 1,000,000 bytes at most`() throws {
        let deltas = 780
        let padding = 1_000_000 - pages(700, deltas: deltas, padding: 1).count + 1
        let most = pages(700, deltas: deltas, padding: padding)
        let more = pages(700, deltas: deltas, padding: padding + 1)
        try #require(most.count == 1_000_000 && more.count == 1_000_001)
        #expect(try DigestMessage(decoding: most).encoded() == most)
        #expect(throws: CodecError.outOfRange(field: "digest message")) { try DigestMessage(decoding: more) }
    }

    @Test func `a message of summaries names 16,384 members at most, all of them there`() throws {
        let summary = MapSummary(owner: peer, position: MapPosition(epoch: 1, sequence: 1, root: 1))
        let most = DigestMessage.summaries(Array(repeating: summary, count: 16_384)).encoded()
        #expect(try DigestMessage(decoding: most).encoded() == most)
        let more = DigestMessage.summaries(Array(repeating: summary, count: 16_385)).encoded()
        #expect(throws: CodecError.outOfRange(field: "summaries")) { try DigestMessage(decoding: more) }
        #expect(DigestMessage.summaries(fitting: 1_000) == 41 && DigestMessage.summaries(fitting: 3) == 0)
        for count in [27, 28] {
            let fitting = Array(repeating: summary, count: DigestMessage.summaries(fitting: count))
            #expect(fitting.count == count - 27 && DigestMessage.summaries(fitting).encoded().count <= count)
        }
        #expect(throws: CodecError.self) { try DigestMessage(decoding: [4] + [UInt8](repeating: 0, count: 16)) }
    }

    @Test func `a delta is of a real place, has changes, and its hashes in one form`() throws {
        func delta(epoch: UInt32 = 1, sequence: UInt32 = 1, flags: UInt8 = 0, _ lists: [UInt8]) throws -> MapDelta {
            var writer = ByteWriter()
            writer.append(epoch)
            writer.append(sequence)
            writer.append(flags)
            writer.append(UInt32(7))
            writer.append(contentsOf: lists)
            return try MapDelta(decoding: writer.bytes)
        }
        let one: [UInt8] = [1, 0, 0, 0, 9, 0]
        #expect(try delta(one).adds == [9])
        #expect(try delta(flags: 1, one).isPartial)
        for broken in [
            try? delta(epoch: 0, one), try? delta(sequence: 0, one), try? delta(flags: 2, one), try? delta([0, 0]),
            // Two hashes of which the first is the last that there is.
            try? delta([2, 255, 255, 255, 255, 0, 1, 0, 0]),
            // A parameter that nobody would choose.
            try? delta([2, 0, 0, 0, 9, 1, 1, 0, 0]),
        ] { #expect(broken == nil) }
        #expect(try delta([2, 0, 0, 0, 9, 0, 1, 0, 0]).adds == [9, 10])
        #expect(try delta([1, 255, 255, 255, 255, 0]).adds == [.max])
        let far = MapDelta(
            epoch: 1, sequence: 1, root: 0, isPartial: true, adds: [0, .max], removes: [1, 2, .max - 1])
        var writer = ByteWriter()
        far.encode(into: &writer)
        #expect(try MapDelta(decoding: writer.bytes) == far && writer.bytes.count == far.byteCount)
    }

    @Test func `as many hashes go into a delta as fit, to the byte`() throws {
        var random = SplitMix64(seed: 3)
        let list = Set((0..<600).map { _ in UInt32(truncatingIfNeeded: random.next()) }).sorted()
        for bytes in 10..<120 {
            let (count, size) = MapDelta.fitting(list[...], bytes: bytes)
            func encoded(_ count: Int) -> Int {
                MapDelta(epoch: 1, sequence: 1, root: 0, isPartial: false, adds: Array(list[..<count]), removes: [])
                    .byteCount - MapDelta.headerBytes - 1
            }
            #expect(size == encoded(count) && size <= bytes)
            #expect(encoded(count + 1) > bytes, "\(bytes)")
        }
    }

    @Test func `a question has as many keys as fit its datagram, 35 at most`() {
        for (bytes, count) in [(0, 0), (5, 0), (37, 0), (38, 1), (1_125, 34), (1_126, 35), (9_000, 35)] {
            #expect(HaveRequest.keysPerDatagram(bytes: bytes) == count, "\(bytes)")
        }
        for (keys, bytes, isSent) in [(35, 1_126, true), (35, 1_125, false), (36, 9_000, false), (1, 38, true)] {
            var exchange = HaveExchange(first: 0)
            let (_, effects) = exchange.ask((0..<keys).map(mapKey), peer, datagramBytesMax: bytes, at: start)
            let wasSent = effects.contains { if case .send = $0 { true } else { false } }
            #expect(wasSent == isSent && (exchange.nextAt != nil) == isSent, "\(keys) keys in \(bytes) bytes")
        }
    }

    @Test func `a message asks for 8,192 keys at most, and says as many as it has`() throws {
        let most = HaveRequest(number: 1, keys: Array(repeating: mapKey(1), count: 8_192)).encoded()
        #expect(try HaveRequest(decoding: most).keys.count == 8_192)
        var more = [UInt8](most[..<4])
        more += [0x81, 0x40] + most[6...] + mapKey(1).digest.bytes
        #expect(throws: CodecError.outOfRange(field: "keys")) { try HaveRequest(decoding: more) }
        let two = HaveRequest(number: 1, keys: [mapKey(1), mapKey(2)]).encoded()
        #expect(throws: CodecError.truncated) { try HaveRequest(decoding: two + [0]) }
        let sizes = HaveAnswer(
            number: 1, sizes: [0, nil, 7], leaseMilliseconds: 1, running: 0, queued: 0)
        #expect(try HaveAnswer(decoding: sizes.encoded()) == sizes, "nothing to fetch is held as well")
        var filled = sizes.encoded()
        filled[13] |= 0x80
        #expect(throws: CodecError.invalid(field: "bitmap")) { try HaveAnswer(decoding: filled) }
    }

    @Test func `1,024 questions are under way, 100 ms each, and an answer says as much as was asked`() {
        var exchange = HaveExchange(first: 7)
        for number in 0..<1_024 {
            let (_, effects) = exchange.ask(
                [mapKey(1), mapKey(2)], peer, datagramBytesMax: 1_000, at: start + .microseconds(Int64(number)))
            #expect(effects != [])
        }
        let (beyond, effects) = exchange.ask([mapKey(1)], peer, datagramBytesMax: 1_000, at: start)
        #expect(effects == [.unanswered(beyond, by: peer)])
        #expect(exchange.nextAt == start + .milliseconds(100), "the oldest")
        func answer(_ number: UInt32, _ sizes: [UInt64?]) -> HaveAnswer {
            HaveAnswer(number: number, sizes: sizes, leaseMilliseconds: 0, running: 0, queued: 0)
        }
        let wrong = [
            exchange.answered(answer(8, [1, nil]), by: other), exchange.answered(answer(8, [1]), by: peer),
            exchange.answered(answer(8, [1, 2, 3]), by: peer), exchange.answered(answer(7, [1, 2]), by: peer),
        ]
        #expect(wrong.allSatisfy { $0.isEmpty })
        let right = exchange.answered(answer(8, [1, nil]), by: peer)
        #expect(right.count == 1)
        #expect(exchange.nextAt == start + .milliseconds(100) + .microseconds(1))
        let none = exchange.expire(at: start + .milliseconds(100))
        let one = exchange.expire(at: start + .milliseconds(100) + .microseconds(1))
        #expect(none.isEmpty && one.count == 1)
        let again = exchange.expire(at: start + .milliseconds(100) + .microseconds(1))
        #expect(again.isEmpty)
        let late = exchange.answered(answer(9, [1, nil]), by: peer)
        #expect(late.isEmpty, "it was given up")
        let rest = exchange.expire(at: start + .seconds(1))
        #expect(rest.count == 1_022 && exchange.nextAt == nil)
    }

    private func layer(_ number: Int) -> Digest { mapKey(number).digest }

    @Test func `a lease holds for 30 s and not longer, for each layer of the grant`() {
        var leases = LeaseTable()
        let granted = leases.grant([layer(1), layer(2), layer(3)], at: start)
        #expect(granted)
        let last = start + .seconds(30) + .nanoseconds(-1)
        #expect((1...3).allSatisfy { leases.isPinned(layer($0), at: last) })
        #expect((1...3).allSatisfy { !leases.isPinned(layer($0), at: start + .seconds(30)) })
        #expect(!leases.isPinned(layer(4), at: start))
        let early = leases.condemn([layer(1), layer(2), layer(3), layer(4)], at: last)
        #expect(early == [layer(4)])
        #expect(leases.isCondemned(layer(4)) && !leases.isCondemned(layer(1)))
        let late = leases.condemn([layer(1), layer(4)], at: start + .seconds(30))
        #expect(late == [layer(1)], "the other is being collected already")
        // One of them is going: none is promised.
        let mixed = leases.grant([layer(5), layer(4)], at: start)
        #expect(!mixed && !leases.isPinned(layer(5), at: start))
        leases.finish([layer(4)])
        let after = leases.grant([layer(5), layer(4)], at: start)
        #expect(after && leases.isCondemned(layer(1)) && !leases.isCondemned(layer(4)))
    }

    @Test func `a collected layer has no lease left from before`() {
        var leases = LeaseTable()
        _ = leases.grant([layer(1)], at: start)
        let gone = leases.condemn([layer(1)], at: start + .seconds(30))
        leases.finish(gone)
        #expect(gone == [layer(1)] && !leases.isPinned(layer(1), at: start))
    }

    @Test func `262,144 layers are leased at once, and those that are over make room`() {
        var leases = LeaseTable()
        func layers(_ range: Range<Int>) -> [Digest] {
            range.compactMap { number in
                Digest(bytes: (0..<4).map { UInt8(number >> ($0 * 8) & 255) } + [UInt8](repeating: 1, count: 28))
            }
        }
        let all = layers(0..<262_144)
        let first = leases.grant(Array(all[..<200_000]), at: start)
        let rest = leases.grant(Array(all[200_000...]), at: start + .seconds(1))
        let beyond = leases.grant(layers(300_000..<300_001), at: start + .seconds(30) + .nanoseconds(-1))
        #expect(first && rest && !beyond)
        let again = leases.grant(layers(300_000..<300_001), at: start + .seconds(30))
        let many = leases.grant(layers(300_001..<500_000), at: start + .seconds(30))
        let over = leases.grant(layers(500_000..<500_001), at: start + .seconds(30))
        #expect(again && many && !over)
    }
}
