import ClusterModel
import Testing

@testable import ClusterKeys

/// What a ring takes, refuses and shows, at the edges.
struct KeyRingBoundsTests {
    private static func print(_ number: UInt64) -> KeyFingerprint { KeyFingerprint(rawValue: number) }

    private static let keyless = Ring(entries: [.init(key: .init(1), generation: 1)], mapKey: [], isSecret: false)

    // MARK: Names

    @Test func `a fingerprint is 16 digits, and they are in the order of their numbers`() {
        #expect("\(Self.print(0xAB))" == "00000000000000ab" && "\(Self.print(.max))" == "ffffffffffffffff")
        #expect([Self.print(3), Self.print(1), Self.print(2)].sorted().map(\.rawValue) == [1, 2, 3])
    }

    @Test func `a key is named by the first digits of its fingerprint, if only one begins so`() throws {
        let ring = Ring.of(0xAB00_0000_0000_0000, 0xAC00_0000_0000_0001)
        #expect(try ring.key(named: "ab").rawValue == 0xAB00_0000_0000_0000)
        #expect(try ring.key(named: "AC").rawValue == 0xAC00_0000_0000_0001)
        #expect(throws: KeyRingError.ambiguous("a")) { try ring.key(named: "a") }
        #expect(throws: KeyRingError.unknown("")) { try ring.key(named: "") }
        #expect(throws: KeyRingError.unknown("b")) { try ring.key(named: "b") }
    }

    // MARK: Orders

    @Test func `a key that was removed is never installed or used again, and one that is there is not there twice`()
        throws
    {
        var ring = Ring.of(2, 3)
        try ring.install(.init(3))
        #expect(ring.entries.count == 3)
        try ring.remove(Self.print(3), graceSeconds: 100, now: 10)
        #expect(throws: KeyRingError.retired(Self.print(3))) { try ring.install(.init(3)) }
        #expect(throws: KeyRingError.retired(Self.print(3))) { try ring.use(Self.print(3)) }
        #expect(throws: KeyRingError.unknown("\(Self.print(9))")) { try ring.use(Self.print(9)) }
        #expect(throws: KeyRingError.seals(Self.print(1))) {
            try ring.remove(Self.print(1), graceSeconds: 100, now: 10)
        }
        ring.expire(at: 110)
        #expect(throws: KeyRingError.retired(Self.print(3))) { try ring.install(.init(3)) }
        #expect(ring.serving == [1, 2])
    }

    @Test func `four keys are in service, and those in their grace are not counted`() throws {
        var ring = Ring.of(2, 3, 4)
        #expect(throws: KeyRingError.full(keysMax: 4)) { try ring.install(.init(5)) }
        try ring.remove(Self.print(4), graceSeconds: 100, now: 10)
        try ring.install(.init(5))
        #expect(ring.serving.count == 4 && ring.entries.count == 5)
    }

    @Test func `to use the key that seals changes nothing, and another is of the next generation of all there were`()
        throws
    {
        var ring = Ring.of(2, 3)
        let before = ring
        try ring.use(Self.print(1))
        #expect(ring == before)
        try ring.use(Self.print(2))
        #expect(ring.entries[0].generation == 2)
        try ring.use(Self.print(1))
        try ring.remove(Self.print(2), graceSeconds: 0, now: 10)
        #expect(ring.entries.map(\.generation) == [3, 0])
        // A removed key may have been of a higher generation than any that is left.
        var late = Ring(
            entries: [.init(key: .init(1), generation: 1), .init(key: .init(2))],
            removed: [KeyRank(fingerprint: Self.print(9), generation: 7)], mapKey: [7])
        try late.use(Self.print(2))
        #expect(late.entries[0].generation == 8)
    }

    @Test func `generations end, and there is always a key that can be used`() throws {
        let last = UInt64.max >> 1 - 1
        var ring = Ring(entries: [.init(key: .init(1), generation: last), .init(key: .init(2))], mapKey: [7])
        try ring.use(Self.print(2))
        #expect(ring.entries[0].generation == last && ring.sealing == 2)
    }

    @Test func `a grace of no time is over at once, and none is longer than a week`() throws {
        var ring = Ring.of(2, 3)
        try ring.remove(Self.print(2), graceSeconds: 0, now: 10)
        #expect(ring.entries.count == 2)
        try ring.remove(Self.print(3), graceSeconds: .max, now: 10)
        #expect(ring.entries.last?.retiredUntil == 10 + 7 * 86_400)
        let until = try #require(ring.entries.last)
        #expect(until.opens(at: 10 + 7 * 86_400 - 1) && !until.opens(at: 10 + 7 * 86_400))
        // A second order shortens it and never makes it longer.
        try ring.remove(Self.print(3), graceSeconds: 50, now: 20)
        #expect(ring.entries.last?.retiredUntil == 70)
        try ring.remove(Self.print(3), graceSeconds: 50, now: 40)
        #expect(ring.entries.last?.retiredUntil == 70)
        let early = ring.expire(at: 69)
        let due = ring.expire(at: 70)
        let again = ring.expire(at: 71)
        #expect(!early && due && !again && ring.entries.count == 1)
    }

    @Test func `a node without a key takes no order and no ring, and gives none`() {
        var ring = Self.keyless
        #expect(throws: KeyRingError.noKey) { try ring.install(.init(2)) }
        #expect(throws: KeyRingError.noKey) { try ring.use(Self.print(1)) }
        #expect(throws: KeyRingError.noKey) { try ring.remove(Self.print(1), graceSeconds: 1, now: 1) }
        let learnt = ring.merge(.of(2), at: 1, graceSeconds: 1)
        var secret = Ring.of(2)
        let taken = secret.merge(Self.keyless, at: 1, graceSeconds: 1)
        #expect(!learnt && !taken && ring.serving == [1] && secret.mapKey == [7])
    }

    // MARK: What shows

    @Test func `the hash of a ring shows its keys, generations, removals and map key, and no graces`() throws {
        func ring(
            _ entries: [(UInt64, UInt64)], removed: [(UInt64, UInt64)] = [], mapKey: [UInt8] = [7]
        ) -> Ring {
            Ring(
                entries: entries.map { .init(key: .init($0.0), generation: $0.1) },
                removed: removed.map { KeyRank(fingerprint: Self.print($0.0), generation: $0.1) }, mapKey: mapKey)
        }
        let different = [
            ring([(1, 1)]), ring([(2, 1)]), ring([(1, 2)]), ring([(1, 1), (2, 0)]), ring([(1, 1)], mapKey: [8]),
            ring([(1, 1)], mapKey: [7, 0]), ring([(1, 1)], removed: [(2, 0)]), ring([(1, 1)], removed: [(3, 0)]),
            ring([(1, 1)], removed: [(2, 1)]), ring([(1, 1)], removed: [(2, 0), (3, 0)]),
        ]
        #expect(Set(different.map(\.setHash)).count == different.count)
        for (index, one) in different.enumerated() {
            for (place, other) in different.enumerated() { #expect(one.agrees(with: other) == (index == place)) }
        }
        var (early, late) = (Ring.of(2), Ring.of(2))
        try early.remove(Self.print(2), graceSeconds: 10, now: 10)
        try late.remove(Self.print(2), graceSeconds: 90, now: 10)
        #expect(early.setHash == late.setHash && early.agrees(with: late) && early != late)
    }

    // MARK: Merging

    @Test func `of two map keys the one of the older cluster stays, else the lower`() throws {
        func ring(_ mapKey: UInt8, _ generation: UInt64) -> Ring {
            Ring(entries: [.init(key: .init(UInt64(mapKey)), generation: generation)], mapKey: [mapKey])
        }
        for (one, other, expected) in [
            (ring(3, 1), ring(5, 1), UInt8(3)), (ring(3, 1), ring(5, 2), 5), (ring(3, 2), ring(5, 1), 3),
        ] {
            #expect(one.merged(with: other).mapKey == [expected] && other.merged(with: one).mapKey == [expected])
        }
    }

    @Test func `a key is taken for as long as the other has it, at most for the own grace, and not once it is gone`()
        throws
    {
        var other = Ring.of(2)
        try other.remove(Self.print(2), graceSeconds: 1_000, now: 10)
        let joiner = Ring.of()
        #expect(joiner.merged(with: other, at: 20, graceSeconds: 100).entries.last?.retiredUntil == 120)
        #expect(joiner.merged(with: other, at: 20, graceSeconds: 5_000).entries.last?.retiredUntil == 1_010)
        #expect(joiner.merged(with: other, at: 1_009, graceSeconds: 100).entries.count == 2)
        #expect(joiner.merged(with: other, at: 1_010, graceSeconds: 100).entries.count == 1)
        // Its own grace of a removed key ends with the next ring that comes, too.
        var own = Ring.of(2)
        try own.remove(Self.print(2), graceSeconds: 10, now: 10)
        #expect(own.merged(with: Ring.of(), at: 19).entries.count == 2)
        #expect(own.merged(with: Ring.of(), at: 20).entries.count == 1)
    }

    @Test func `of a removed key the highest generation that anybody gave it is kept`() throws {
        var used = Ring.of(2)
        try used.use(Self.print(2))
        try used.use(Self.print(1))
        var removed = Ring.of(2)
        try removed.remove(Self.print(2), graceSeconds: 100, now: 10)
        #expect(removed.removed.map(\.generation) == [0])
        #expect(removed.merged(with: used).removed.map(\.generation) == [2])
        #expect(used.merged(with: removed).removed.map(\.generation) == [2])
        try used.remove(Self.print(2), graceSeconds: 100, now: 10)
        #expect(removed.merged(with: used).removed == used.merged(with: removed).removed)
    }

    @Test func `16 keys are held and 64 removals remembered, the newest`() throws {
        var ring = Ring.of()
        for number in UInt64(2)...100 { try ring.rotate(to: number, now: 10) }
        #expect(ring.entries.count == 16 && ring.removed.count == 64)
        #expect(ring.entries.map(\.fingerprint.rawValue) == (85...100).reversed())
        // Whose removal is forgotten is not held in its place.
        let kept = Ring(
            entries: [.init(key: .init(200), generation: 200), .init(key: .init(9), generation: 1, retiredUntil: 99)],
            removed: [KeyRank(fingerprint: Self.print(9), generation: 1)], mapKey: [7])
        #expect(kept.merged(with: ring, at: 20).entries.allSatisfy { $0.fingerprint.rawValue != 9 })
    }

    @Test func `a ring that would leave no key changes nothing, and the node can still rotate`() throws {
        var ring = Ring.of()
        let first = ring.merge(.forged(1_000..<1_063, removesItself: true), at: 20, graceSeconds: 100)
        #expect(first && ring.serving == [1] && ring.removed.count == 64)
        let before = ring
        for _ in 0..<2 {
            let second = ring.merge(.forged(2_000..<2_064), at: 20, graceSeconds: 100)
            #expect(!second && ring == before)
        }
        #expect(ring.learn(.forged(2_000..<2_064), at: 20, graceSeconds: 100) == .refused)
        #expect(ring.learn(.of(), at: 20, graceSeconds: 100) == .known)
        try ring.rotate(to: 5, now: 20)
        #expect(ring.sealing == 5 && ring.serving == [5])
    }

    @Test func `a key whose grace is over is not taken from another, and does not seal where all others were removed`()
    {
        func rank(_ number: UInt64, _ generation: UInt64) -> KeyRank {
            KeyRank(fingerprint: Self.print(number), generation: generation)
        }
        // Two halves removed each other's keys; a third half's key 3 is in its grace at one of them.
        let own = Ring(entries: [.init(key: .init(1), generation: 1)], removed: [rank(2, 0)], mapKey: [7])
        let other = Ring(
            entries: [
                .init(key: .init(2), generation: 2), .init(key: .init(3), generation: 5, retiredUntil: 50),
            ], removed: [rank(1, 0), rank(3, 5)], mapKey: [7])
        #expect(own.merged(with: other, at: 49).sealing == 3)
        let late = own.merged(with: other, at: 50)
        #expect(late.sealing == 2 && late.inGrace == [1] && late.entries.count == 2)
    }
}
