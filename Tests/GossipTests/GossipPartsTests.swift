import ClusterModel
import Testing

@testable import Gossip

/// The small values that the membership is made of, at the edges of what they allow.
struct GossipPartsTests {
    private static func id(_ number: UInt64) -> PeerID { PeerID(rawValue: number) }
    private static func after(_ milliseconds: Int64) -> MonotonicInstant { .zero + .milliseconds(milliseconds) }

    // MARK: Where this node is seen

    @Test func `an address is news when two members saw it, and then for ten minutes none is`() {
        var seen = AddressObservations()
        let (one, other) = (Bench.address(8), Bench.address(9))
        var told: [Bool] = []
        func note(_ address: PeerAddress, by member: UInt64, at milliseconds: Int64) {
            told.append(seen.note(address, by: Self.id(member), at: Self.after(milliseconds)))
        }
        // The same witness twice, then a second witness of another address.
        note(one, by: 2, at: 0)
        note(one, by: 2, at: 1)
        note(other, by: 3, at: 2)
        #expect(told == [false, false, false])
        note(other, by: 4, at: 10)
        #expect(told.last == true)
        note(other, by: 5, at: 11)
        note(other, by: 6, at: 600_009)
        #expect(told.suffix(2) == [false, false])
        note(other, by: 5, at: 600_010)
        #expect(told.last == true)
    }

    // MARK: When to repair

    @Test func `a difference is repaired when the table has been quiet for a quarter of a period, or is far off`() {
        let period = Duration.seconds(1)
        func wants(_ quiet: Int64, isFar: Bool) -> Bool {
            var antiEntropy = AntiEntropy()
            return antiEntropy.wantsRepair(
                at: Self.after(5_000), tableChangedAt: Self.after(5_000 - quiet), isFar: isFar, period: period)
        }
        #expect(!wants(249, isFar: false) && wants(250, isFar: false) && wants(0, isFar: true))
    }

    @Test(arguments: [false, true])
    func `a node repairs once a period, and four times while the tables are far apart`(isFar: Bool) {
        var antiEntropy = AntiEntropy()
        func wants(_ milliseconds: Int64) -> Bool {
            antiEntropy.wantsRepair(
                at: Self.after(milliseconds), tableChangedAt: .zero, isFar: isFar, period: .seconds(1))
        }
        let wait: Int64 = isFar ? 250 : 1_000
        var asked = [wants(5_000), wants(5_000 + wait - 1), wants(5_000 + wait)]
        #expect(asked == [true, false, true])
        // One stream at a time.
        let id = antiEntropy.begin(.repair(Self.id(2)), at: Self.after(6_000), period: .seconds(1))
        asked = [wants(9_000)]
        let ended = [antiEntropy.end(id), antiEntropy.end(id)]
        asked.append(wants(9_000))
        #expect(asked == [false, true] && ended == [.repair(Self.id(2)), nil])
    }

    @Test func `an exchange without an answer has failed after ten periods, once`() {
        var antiEntropy = AntiEntropy()
        let id = antiEntropy.begin(.seed(Bench.address(2)), at: .zero, period: .seconds(1))
        let early = antiEntropy.expired(at: Self.after(9_999))
        let due = antiEntropy.expired(at: Self.after(10_000))
        let late = antiEntropy.expired(at: Self.after(20_000))
        #expect(early.isEmpty && due == [.seed(Bench.address(2))] && late.isEmpty)
        #expect(antiEntropy.count == 0 && antiEntropy.end(id) == nil)
    }

    @Test(arguments: [
        (128, 1_156, 16), (129, 1_156, 32), (16_384, 65_000, 256), (16_384, 468, 64), (16_384, 515, 128),
        (16_384, 514, 64),
    ])
    func `a table has so many buckets that each is a third of a packet, and their hashes fit one`(
        members: Int, bytes: Int, count: Int
    ) {
        #expect(Buckets.count(members: members, datagramBytesMax: bytes) == count)
    }

    // MARK: Map roots

    @Test func `a map root that differs is told when it lasts for more than two periods, once a period`() {
        var roots = MapRoots(at: .zero)
        func differs(_ root: UInt32, _ milliseconds: Int64) -> Bool {
            roots.differs(root, at: Self.after(milliseconds), period: .seconds(1))
        }
        var told = [differs(7, 2_000), differs(7, 2_001), differs(7, 3_000), differs(7, 3_001)]
        #expect(told == [false, true, false, true])
        // This node's own changes all the time: nobody has shown an equal one for as long.
        roots = MapRoots(at: .zero)
        for second in Int64(1)...2 { roots.change(to: UInt32(second), at: Self.after(second * 1_000)) }
        told = [differs(9, 2_000), differs(9, 2_001)]
        #expect(told == [false, true])
        // Somebody has: the difference must last as long as this node's root.
        roots.change(to: 5, at: Self.after(10_000))
        told = [differs(5, 10_500), differs(6, 11_999), differs(6, 12_000), differs(6, 12_001)]
        #expect(told == [false, false, false, true])
    }

    // MARK: Local health

    @Test
    func `each sign of an own fault lengthens the waits by one, up to eight times, and each answer shortens them`() {
        var health = LocalHealth()
        health.probeSucceeded()
        #expect(health.multiplier == 1)
        health.wasLate()
        #expect(health.multiplier == 2)
        health.wasAccused()
        #expect(health.multiplier == 3)
        health.probeFailedInSilence()
        #expect(health.multiplier == 4)
        for _ in 0..<9 { health.wasLate() }
        #expect(health.score == 7 && health.multiplier == 8)
        for _ in 0..<9 { health.wasAccused() }
        #expect(health.multiplier == 8)
        for _ in 0..<9 { health.probeFailedInSilence() }
        #expect(health.multiplier == 8)
        health.probeSucceeded()
        #expect(health.multiplier == 7)
    }

    // MARK: Load

    @Test func `a load record is newer by its number, also where the numbers begin again`() {
        func record(_ sequence: UInt16) -> LoadRecord {
            var load = LoadRecord()
            load.sequence = sequence
            return load
        }
        #expect(record(5).isNewer(than: record(4)) && !record(4).isNewer(than: record(5)))
        #expect(!record(5).isNewer(than: record(5)))
        #expect(record(0).isNewer(than: record(.max)) && !record(.max).isNewer(than: record(0)))
    }

    /// Running, queued, disk free in MiB, draining.
    @Test(
        arguments: [
            (0, 0, 0, false, .idle), (0, 1, 0, false, .busy), (1, 0, 0, false, .busy), (2, 0, 0, false, .full),
            (3, 4, 0, false, .full), (0, 0, 1_023, false, .diskLow), (0, 0, 1_024, false, .idle),
            (2, 0, 1, false, .diskLow), (0, 0, 1, true, .draining),
        ] as [(UInt16, UInt16, UInt64, Bool, LoadRecord.Class)])
    func `a member of two slots is of the class that placement goes by`(
        running: UInt16, queued: UInt16, diskFree: UInt64, isDraining: Bool, expected: LoadRecord.Class
    ) {
        var load = LoadRecord()
        load.slots = 2
        load.running = running
        load.queued = queued
        load.diskFree = diskFree << 20
        if isDraining { load.flags = .draining }
        #expect(load.loadClass == expected)
    }

    // MARK: Suspicion

    private func suspicion(_ evidence: Suspicion.Evidence = .silence) -> Suspicion {
        Suspicion(
            incarnation: 0, bootID: 1, accuser: Self.id(2), evidence: evidence, isOwn: true, membersUp: 64, damping: 1,
            at: .zero)
    }

    @Test func `the strongest evidence of all accusers counts, and no more than six accusers are kept`() {
        var suspicion = suspicion()
        suspicion.confirm(by: Self.id(3), evidence: .refused)
        suspicion.confirm(by: Self.id(4), evidence: .silence)
        #expect(suspicion.evidence == .refused)
        for accuser in UInt64(2)...20 { suspicion.confirm(by: Self.id(accuser), evidence: .silence) }
        #expect(suspicion.accusers == (2...7).map { Self.id($0) })
        suspicion.confirm(by: Self.id(99), evidence: .refused)
        #expect(suspicion.accusers.count == 6)
    }

    @Test func `time that a node missed is given back to a suspect, and its look begins anew`() {
        var suspicion = suspicion()
        suspicion.lookEndsAt = Self.after(10)
        suspicion.wasMissed(for: .seconds(3), at: Self.after(4_000))
        #expect(suspicion.startedAt == Self.after(3_000) && suspicion.lookEndsAt == nil && !suspicion.isPublic)
        suspicion.becomePublic(at: Self.after(5_000))
        suspicion.becomePublic(at: Self.after(6_000))
        #expect(suspicion.publicSince == Self.after(5_000))
        suspicion.wasMissed(for: .seconds(1), at: Self.after(9_000))
        #expect(suspicion.publicSince == Self.after(9_000) && suspicion.startedAt == Self.after(4_000))
    }

    @Test func `a member that flaps is damped until ten minutes after its last return`() {
        var returns = Returns()
        returns.note(at: .zero)
        #expect(returns.factor(at: .zero + .seconds(599)) == 2)
        returns.note(at: .zero + .seconds(599))
        #expect(returns.factor(at: .zero + .seconds(1_198)) == 4)
        #expect(returns.factor(at: .zero + .seconds(1_199)) == 1)
        returns.note(at: .zero + .seconds(1_199))
        #expect(returns.factor(at: .zero + .seconds(1_199)) == 2)
    }

    // MARK: Rounds

    @Test func `the rounds of all nodes begin within a quarter of a period, and not at once`() {
        let starts = (UInt64(1)...200).map { number in
            let schedule = ProbeSchedule(period: .seconds(1), wallClockOffset: .zero, id: Self.id(number))
            return (schedule.start(ofRound: 7) - .zero - .seconds(7)).nanoseconds / 1_000_000
        }
        #expect(starts.allSatisfy { (0..<250).contains($0) } && Set(starts).count > 50)
    }

    // MARK: User records

    @Test func `each number is admitted once, in any order within the window`() {
        var window = UserWindow()
        var random = SplitMix64(seed: 4)
        var seen: Set<UInt32> = []
        for base in stride(from: UInt32(1), to: 5_000, by: 3) {
            let number = base + UInt32(random.next() % 120)
            let isAdmitted = window.admit(number)
            #expect(isAdmitted == seen.insert(number).inserted)
        }
        let isOldAdmitted = window.admit(1)
        let isNoNumberAdmitted = window.admit(0)
        #expect(!isOldAdmitted && !isNoNumberAdmitted)
        let isFarAdmitted = window.admit(.max)
        #expect(isFarAdmitted)
    }

    @Test func `the window of an origin's records is 256 wide`() {
        var window = UserWindow()
        var admitted = [300, 45, 44].map { window.admit($0) }
        #expect(admitted == [true, true, false])
        window = UserWindow()
        // What was seen at the far end of the window is still known.
        admitted = [1, 256, 1].map { window.admit($0) }
        #expect(admitted == [true, true, false])
    }

    // MARK: Tokens

    @Test func `tokens come with the time, a part of one is not lost, and nothing is overdrawn`() {
        var bucket = TokenBucket(perSecond: 100, at: .zero)
        var taken = [bucket.take(201), bucket.take(200)]
        #expect(taken == [false, true])
        bucket.refill(at: Self.after(6))
        taken = [bucket.take(1)]
        bucket.refill(at: Self.after(12))
        taken += [bucket.take(2), bucket.take(1)]
        #expect(taken == [false, false, true])
        // The same instant gives nothing again.
        bucket.refill(at: Self.after(1_000))
        _ = bucket.take(98)
        bucket.refill(at: Self.after(1_000))
        taken = [bucket.take(1)]
        #expect(taken == [false])
    }
}
