import ClusterModel
import Testing

@testable import ClusterKeys

struct NumberedKey: RingKey, Hashable {
    var number: UInt64

    init(_ number: UInt64) { self.number = number }

    var fingerprint: KeyFingerprint { KeyFingerprint(rawValue: number) }
}

typealias Ring = KeyRing<NumberedKey>

extension Ring {
    /// Of key 1, which seals, and keys that open.
    static func of(_ others: UInt64...) -> Ring {
        Ring(entries: [.init(key: .init(1), generation: 1)] + others.map { .init(key: .init($0)) }, mapKey: [7])
    }

    /// Of key 1, which calls keys removed that there never were, each of the generation of its number, and perhaps
    /// itself.
    static func forged(_ numbers: Range<UInt64>, removesItself: Bool = false) -> Ring {
        let own = KeyRank(fingerprint: KeyFingerprint(rawValue: 1), generation: 1)
        let fakes = numbers.map { KeyRank(fingerprint: KeyFingerprint(rawValue: $0), generation: $0) }
        return Ring(
            entries: [.init(key: .init(1), generation: 1)], removed: fakes + (removesItself ? [own] : []), mapKey: [7])
    }

    var sealing: UInt64 { entries[0].fingerprint.rawValue }
    var serving: [UInt64] { installed.map(\.fingerprint.rawValue) }
    var inGrace: [UInt64] { entries.filter(\.isRetired).map(\.fingerprint.rawValue) }

    /// What a finished rotation does to a ring.
    mutating func rotate(to number: UInt64, graceSeconds: UInt64 = 100, now: UInt64) throws {
        let old = installed.map(\.fingerprint)
        try install(.init(number))
        try use(KeyFingerprint(rawValue: number))
        for key in old { try remove(key, graceSeconds: graceSeconds, now: now) }
    }

    func merged(with other: Ring, at now: UInt64 = 20, graceSeconds: UInt64 = 100) -> Ring {
        var ring = self
        ring.merge(other, at: now, graceSeconds: graceSeconds)
        return ring
    }
}

struct KeyRingTests {
    @Test func `two halves that both rotated agree, and open each other for the grace`() throws {
        var (left, right) = (Ring.of(), Ring.of())
        try left.rotate(to: 2, now: 10)
        try right.rotate(to: 3, now: 15)
        let both = left.merged(with: right)
        #expect(both.agrees(with: right.merged(with: left)) && both.setHash == right.merged(with: left).setHash)
        #expect(both.sealing == 3 && both.serving == [3, 2] && both.inGrace == [1])
        #expect(both.entries[2].opens(at: 109) && !both.entries[2].opens(at: 110))
    }

    @Test func `a half that rotated more often gives the key that seals`() throws {
        var (left, right) = (Ring.of(), Ring.of())
        for number in [UInt64(2), 3] { try left.rotate(to: number, now: 10) }
        try right.rotate(to: 9, now: 15)
        #expect(left.merged(with: right).sealing == 3)
        #expect(right.merged(with: left).sealing == 3)
    }

    @Test func `an older order cannot undo a newer one`() throws {
        var newer = Ring.of(2, 3)
        let older = newer
        try newer.use(KeyFingerprint(rawValue: 3))
        try newer.use(KeyFingerprint(rawValue: 2))
        var contrary = older
        try contrary.use(KeyFingerprint(rawValue: 3))
        #expect(newer.merged(with: contrary).sealing == 2 && contrary.merged(with: newer).sealing == 2)
        // A node that was given the sealing key in its file knows of no change before it; its next order is a newer one.
        var fresh = Ring(entries: [.init(key: .init(2), generation: 1)], mapKey: [9])
        #expect(fresh.setHash != newer.setHash)
        fresh.merge(newer, at: 1, graceSeconds: 9)
        #expect(fresh.agrees(with: newer) && fresh.mapKey == [7])
    }

    @Test func `a removal outweighs a use, but never leaves nobody a key`() throws {
        var (left, right) = (Ring.of(2), Ring.of(2))
        try left.remove(KeyFingerprint(rawValue: 2), graceSeconds: 100, now: 1)
        try right.use(KeyFingerprint(rawValue: 2))
        var merged = left.merged(with: right)
        #expect(merged.sealing == 1 && merged.inGrace == [2])
        try right.remove(KeyFingerprint(rawValue: 1), graceSeconds: 100, now: 1)
        // Each half has removed the key that the other seals with: the newer one's goes on, everywhere.
        merged = left.merged(with: right)
        #expect(merged.serving == [2] && merged.inGrace == [1] && merged.agrees(with: right.merged(with: left)))
        // Also where its grace is over.
        left.expire(at: 101)
        #expect(left.entries.count == 1)
        merged = left.merged(with: right, at: 102)
        #expect(merged.serving == [2] && merged.agrees(with: right.merged(with: left, at: 102)))
        // The next rotation ends it.
        try merged.rotate(to: 5, now: 110)
        #expect(merged.serving == [5] && right.merged(with: merged).serving == [5])
    }

    @Test func `a grace counts from when a node hears of the removal, and does not begin anew`() throws {
        var early = Ring.of()
        try early.rotate(to: 2, now: 10)
        let away = Ring.of()
        // The remover's clock is an hour slow: what it says of its grace would be over here.
        let late = away.merged(with: early, at: 3_610)
        #expect(late.inGrace == [1] && late.entries[1].retiredUntil == 3_710)
        #expect(late.merged(with: early, at: 3_650).entries[1].retiredUntil == 3_710)
        // Who never had the key takes it for as long as the other has it, and not once it is gone.
        let joiner = Ring(entries: [.init(key: .init(2), generation: 2)], mapKey: [7])
        #expect(joiner.merged(with: early, at: 50).entries[1].retiredUntil == 110)
        #expect(joiner.merged(with: early, at: 120).inGrace.isEmpty)
        var over = early
        over.expire(at: 110)
        #expect(over.merged(with: late, at: 111).inGrace.isEmpty)
        // Nor does it come back into service by somebody who has not heard.
        #expect(over.merged(with: away, at: 111).agrees(with: over))
    }

    @Test func `more keys and removals than fit leave the newest`() throws {
        var ring = Ring.of()
        for number in UInt64(2)...100 { try ring.rotate(to: number, now: 10) }
        #expect(ring.serving == [100] && ring.entries.count == Ring.heldMax && ring.removed.count == Ring.removedMax)
        #expect(ring.removed.first?.fingerprint.rawValue == 99)
        var full = Ring.of(2, 3, 4)
        #expect(throws: KeyRingError.full(keysMax: 4)) { try full.install(.init(5)) }
    }

    // MARK: Properties

    /// Rings of members that each obeyed orders of their own, from one ring on.
    private func diverged(_ random: inout SplitMix64, _ count: Int) -> [Ring] {
        var rings = [Ring](repeating: .of(2), count: count)
        for _ in 0..<Int.random(in: 1...20, using: &random) {
            let index = Int.random(in: 0..<count, using: &random)
            let number = UInt64.random(in: 1...7, using: &random)
            let key = KeyFingerprint(rawValue: number)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: try? rings[index].install(.init(number))
            case 1: try? rings[index].use(key)
            case 2: try? rings[index].remove(key, graceSeconds: 1_000, now: 10)
            case 3: try? rings[index].rotate(to: .random(in: 8...60, using: &random), graceSeconds: 1_000, now: 10)
            default: rings[index].merge(rings.randomElement(using: &random) ?? .of(), at: 10, graceSeconds: 1_000)
            }
        }
        return rings
    }

    @Test(arguments: UInt64(0)..<500) func `merging is commutative, associative and idempotent`(_ seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let rings = diverged(&random, 3)
        let (a, b, c) = (rings[0], rings[1], rings[2])
        #expect(a.merged(with: b).agrees(with: b.merged(with: a)))
        #expect(a.merged(with: b).merged(with: c).agrees(with: a.merged(with: b.merged(with: c))))
        let ab = a.merged(with: b)
        #expect(ab.merged(with: ab) == ab && ab.merged(with: a) == ab && ab.merged(with: b) == ab)
        #expect(ab.serving.count >= 1)
    }

    /// Graces end meanwhile, at each node at another time.
    @Test(arguments: UInt64(0)..<300) func `members that tell each other end with one ring`(_ seed: UInt64) {
        var random = SplitMix64(seed: seed &+ 1_000)
        var rings = diverged(&random, 4)
        var now = UInt64(20)
        var isQuiet = false
        var rounds = 0
        while !isQuiet, rounds < 12 {
            isQuiet = true
            rounds += 1
            for left in (0..<4).shuffled(using: &random) {
                now += UInt64.random(in: 0...30, using: &random)
                for right in (0..<4).shuffled(using: &random) where left != right {
                    if rings[left].merge(rings[right], at: now, graceSeconds: 50) { isQuiet = false }
                }
            }
        }
        #expect(rings.allSatisfy { $0.agrees(with: rings[0]) && $0.setHash == rings[0].setHash })
    }
}
