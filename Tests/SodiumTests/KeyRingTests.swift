import ClusterKeys
import Foundation
import Testing

@testable import Sodium

@Suite struct `A key ring` {
    private static func keys(_ count: Int) throws -> [ClusterKey] { try (0..<count).map { _ in try .generate() } }

    /// The ring after a change; this one stays as it is.
    private static func after(
        _ ring: ClusterKeyRing, _ change: (inout ClusterKeyRing) throws -> Void
    ) throws -> ClusterKeyRing {
        var copy = ring
        try change(&copy)
        return copy
    }

    @Test func `replaces its key step by step`() throws {
        let keys = try Self.keys(2)
        var ring = ClusterKeyRing(primary: keys[0])
        let before = ring.setHash
        let mapKey = ring.mapKey
        try ring.install(keys[1])
        try ring.install(keys[1])
        #expect(ring.entries.count == 2 && ring.primary.fingerprint == keys[0].fingerprint && ring.setHash != before)
        #expect(throws: KeyRingError.seals(keys[0].fingerprint)) {
            try Self.after(ring) { try $0.remove(keys[0].fingerprint, graceSeconds: 9, now: 100) }
        }
        let installed = ring.setHash
        try ring.use(keys[1].fingerprint)
        #expect(ring.primary.fingerprint == keys[1].fingerprint && ring.setHash != installed)
        try ring.remove(keys[0].fingerprint, graceSeconds: 9, now: 100)
        #expect(ring.installed.count == 1 && ring.entries.count == 2)
        #expect(throws: KeyRingError.retired(keys[0].fingerprint)) {
            try Self.after(ring) { try $0.use(keys[0].fingerprint) }
        }
        #expect(throws: KeyRingError.retired(keys[0].fingerprint)) { try Self.after(ring) { try $0.install(keys[0]) } }
        let expired = [108, 109].map { ring.expire(at: $0) }
        #expect(expired == [false, true] && ring.entries.count == 1)
        #expect(throws: KeyRingError.retired(keys[0].fingerprint)) { try Self.after(ring) { try $0.install(keys[0]) } }
        #expect(ring.mapKey == mapKey, "digests stay comparable")
        #expect(ring.setHash != ClusterKeyRing(primary: keys[1]).setHash, "what was removed counts")
    }

    @Test func `holds four keys and lets retired ones go first`() throws {
        let keys = try Self.keys(5)
        var ring = ClusterKeyRing(primary: keys[0], others: Array(keys[1...3]))
        #expect(throws: KeyRingError.full(keysMax: 4)) { try Self.after(ring) { try $0.install(keys[4]) } }
        try ring.remove(keys[2].fingerprint, graceSeconds: 1_000, now: 1)
        try ring.install(keys[4])
        #expect(ring.installed.count == 4 && ring.removed.map(\.fingerprint) == [keys[2].fingerprint])
        #expect(throws: KeyRingError.unknown("zz")) { try ring.key(named: "zz") }
        #expect(try ring.key(named: "\(keys[4].fingerprint)".uppercased()) == keys[4].fingerprint)
        #expect(throws: KeyRingError.unknown("")) { try ring.key(named: "") }
        let keyless = try ClusterKeyRing.withoutKey()
        #expect(throws: KeyRingError.noKey) { try Self.after(keyless) { try $0.install(keys[0]) } }
    }

    @Test func `two halves that both took a new key agree when they meet`() throws {
        let keys = try Self.keys(3)
        let common = ClusterKeyRing(primary: keys[0])
        var halves = [common, common]
        for index in 0..<2 {
            try halves[index].install(keys[index + 1])
            try halves[index].use(keys[index + 1].fingerprint)
            try halves[index].remove(keys[0].fingerprint, graceSeconds: 500, now: 100)
        }
        var (left, right) = (halves[0], halves[1])
        let leftLearned = left.merge(halves[1], at: 200, graceSeconds: 500)
        let rightLearned = right.merge(halves[0], at: 200, graceSeconds: 500)
        #expect(leftLearned && rightLearned)
        #expect(left == right && left.setHash == right.setHash)
        let again = left.merge(right, at: 200, graceSeconds: 500)
        #expect(!again, "nothing new")
        // A member that was away all the time.
        var away = common
        let caughtUp = away.merge(left, at: 300, graceSeconds: 500)
        #expect(caughtUp && away.agrees(with: left))
        // And it cannot bring the old key back.
        let goesBack = left.merge(common, at: 300, graceSeconds: 500)
        #expect(!goesBack)
        // A node that was given only the newest key takes the cluster's map key.
        var joiner = ClusterKeyRing(primary: left.primary)
        _ = joiner.merge(left, at: 300, graceSeconds: 500)
        #expect(joiner.mapKey == common.mapKey && joiner.setHash == left.setHash)
    }

    @Test(arguments: UInt64(0)..<50) func `merging is the same in any order`(_ seed: UInt64) throws {
        var random = Seeded(state: seed)
        let keys = try Self.keys(4)
        var rings = [ClusterKeyRing](repeating: ClusterKeyRing(primary: keys[0]), count: 3)
        for _ in 0..<12 {
            let index = Int.random(in: 0..<3, using: &random)
            let key = keys[Int.random(in: 0..<4, using: &random)]
            switch Int.random(in: 0..<3, using: &random) {
            case 0: try? rings[index].install(key)
            case 1: try? rings[index].use(key.fingerprint)
            default: try? rings[index].remove(key.fingerprint, graceSeconds: 1_000, now: 10)
            }
        }
        // Everybody tells everybody until nobody learns anything.
        var rounds = 0
        var changed = true
        while changed, rounds < 20 {
            changed = false
            rounds += 1
            for left in (0..<3).shuffled(using: &random) {
                for right in (0..<3).shuffled(using: &random) where left != right {
                    if rings[left].merge(rings[right], at: 20, graceSeconds: 1_000) { changed = true }
                }
            }
        }
        #expect(rounds < 20)
        #expect(rings[0].primary.fingerprint == rings[1].primary.fingerprint)
        #expect(rings[1].setHash == rings[2].setHash && rings[0].setHash == rings[1].setHash)
    }

    @Test func `a word that would leave no key in service is not taken`() throws {
        let keys = try Self.keys(2)
        var hostile = ClusterKeyRing(primary: keys[0], others: [keys[1]])
        try hostile.use(keys[1].fingerprint)
        try hostile.remove(keys[0].fingerprint, graceSeconds: 1, now: 1)
        var bytes = hostile.encoded()
        bytes[20] = 1
        bytes.removeSubrange(21..<69)
        // The only key of the ring is retired: not a ring.
        #expect(throws: KeyRingError.self) { try ClusterKeyRing(decoding: bytes) }
        var far = ClusterKeyRing(primary: keys[1], others: [keys[0]])
        try far.remove(keys[0].fingerprint, graceSeconds: .max, now: 0)
        var ring = ClusterKeyRing(primary: keys[1], others: [keys[0]])
        _ = ring.merge(far, at: 0, graceSeconds: .max)
        #expect(ring.entries.compactMap(\.retiredUntil) == [ClusterKeyRing.graceSecondsMax])
    }

    @Test func `reads back what it wrote and refuses anything else`() throws {
        let keys = try Self.keys(3)
        var ring = ClusterKeyRing(primary: keys[0], others: [keys[1]])
        try ring.install(keys[2])
        try ring.use(keys[2].fingerprint)
        try ring.remove(keys[1].fingerprint, graceSeconds: 0, now: 5)
        try ring.remove(keys[0].fingerprint, graceSeconds: 50, now: 5)
        let bytes = ring.encoded()
        #expect(try ClusterKeyRing(decoding: bytes) == ring)
        for count in 0..<bytes.count {
            #expect(throws: KeyRingError.self) { try ClusterKeyRing(decoding: Array(bytes[..<count])) }
        }
        #expect(throws: KeyRingError.self) { try ClusterKeyRing(decoding: bytes + [0]) }
        #expect(throws: KeyRingError.self) { try ClusterKeyRing(decoding: [UInt8](repeating: 0, count: 5_000)) }
    }

    @Test func `a restart keeps the ring, and a fresh key in the file seals`() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
            "ring-\(UInt64.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let path = directory.appendingPathComponent("keyring").path
        let keys = try Self.keys(3)
        let file = ClusterKeyRing(primary: keys[0])
        #expect(try ClusterKeyRing.atStart(keyFile: file, kept: path, now: 1) == file)
        var ring = file
        try ring.install(keys[1])
        try ring.use(keys[1].fingerprint)
        try ring.remove(keys[0].fingerprint, graceSeconds: 10, now: 1)
        try ring.keep(at: path)
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        #expect(try ClusterKeyRing.atStart(keyFile: file, kept: path, now: 2) == ring)
        // The grace goes on while the node is down, and the file's old key stays gone.
        let later = try ClusterKeyRing.atStart(keyFile: file, kept: path, now: 11)
        #expect(later.keys.map(\.fingerprint) == [keys[1].fingerprint])
        let changed = try ClusterKeyRing.atStart(keyFile: ClusterKeyRing(primary: keys[2]), kept: path, now: 11)
        #expect(changed.primary.fingerprint == keys[2].fingerprint && changed.keys.count == 2)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        #expect(throws: SodiumError.self) { try ClusterKeyRing.atStart(keyFile: file, kept: path, now: 2) }
        #expect(!"\(KeyRingError.full(keysMax: 4))\(keys[0].fingerprint)".contains(keys[0].base64))
    }
}

private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 33
    }
}
