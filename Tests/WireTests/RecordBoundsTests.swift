import ClusterModel
import Sodium
import Testing

@testable import UVLoop
@testable import Wire

@Suite struct `The bounds of records` {
    /// Seals `count` records of 300 bytes.
    private static func passed(bytes: Int, records: UInt64, count: Int) throws -> LinkReport.Direction {
        let key = try RecordKey(try .random(count: 32), algorithm: .chacha20Poly1305)
        var cipher = RecordCipher(key: key, rekeyBytes: bytes, rekeyRecords: records)
        let block = ByteBlock(capacity: 300 + RecordCipher.overhead)
        for _ in 0..<count { try cipher.seal(block.start, textBytes: 300) }
        return cipher.passed
    }

    @Test func `the next key is taken with the record that reaches the bound, and both counts begin anew`() throws {
        for (bytes, records, rekeys) in [
            (900, 1_000, 10), (901, 1_000, 7), (899, 1_000, 10), (1 << 30, 3, 10), (1 << 30, 31, 0), (1 << 30, 30, 1),
            (900, 2, 15),
        ] as [(Int, UInt64, UInt64)] {
            let passed = try Self.passed(bytes: bytes, records: records, count: 30)
            #expect(passed.rekeys == rekeys, "\(bytes) bytes, \(records) records")
            #expect(passed.records == 30 && passed.bytes == 30 * 320)
        }
    }

    @Test(arguments: RecordAlgorithm.available)
    func `no record is sealed under a key and counter that another was sealed under`(
        _ algorithm: RecordAlgorithm
    )
        throws
    {
        let key = try RecordKey(try .random(count: 32), algorithm: algorithm)
        var cipher = RecordCipher(key: key, rekeyBytes: 1 << 30, rekeyRecords: 4)
        var sealed: Set<[UInt8]> = []
        for _ in 0..<40 {
            // Equal texts under equal keys and counters would be equal when sealed.
            let block = ByteBlock(capacity: 300 + RecordCipher.overhead)
            for index in 0..<300 { block.start[RecordCipher.lengthBytes + index] = 7 }
            try cipher.seal(block.start, textBytes: 300)
            sealed.insert([UInt8](block.bytes(0..<block.capacity)))
        }
        #expect(sealed.count == 40 && cipher.passed.rekeys == 10)
    }

    @Test func `room is made for the rest of a record by moving what is there`() {
        let pool = BlockPool(blockBytes: 1_000, keptMax: 1)
        var inbound = InboundBytes(pool: pool)
        for (filled, taken, room) in [(500, 400, 500), (260, 0, 640), (640, 0, 0)] {
            let before = inbound.room()
            #expect(before.count >= filled)
            inbound.filled(filled)
            if taken > 0 { _ = inbound.take(taken) }
            #expect(inbound.isFull == (room == 0))
            if room > 0 { #expect(inbound.room().count == room) }
        }
        #expect(inbound.count == 1_000)
    }

    @Test func `a record has one byte of text at least and 65,600 at most`() throws {
        var (dialer, listener) = try machines()
        _ = try exchange(&dialer, &listener)
        for length in [17, 65_600 + 16] {
            var copy = listener
            // Nothing follows: the length alone is fine.
            let events = try copy.receive((0..<4).map { UInt8(length >> ((3 - $0) * 8) & 255) })
            #expect(events.isEmpty)
        }
        for length in [16, 65_600 + 17] {
            var copy = listener
            #expect(throws: LinkFault.self) {
                try copy.receive((0..<4).map { UInt8(length >> ((3 - $0) * 8) & 255) })
            }
        }
    }

    @Test func `a bucket saves up 50 ms or one piece, pays its debts and forgets no part of a byte`() {
        let start = ContinuousClock.now
        var slow = TokenBucket(rate: 1_000, now: start)
        #expect(slow.allowance(at: start + .seconds(9)) == 65_536)
        #expect(slow.pause == .zero)
        slow.spend(65_536)
        #expect(slow.allowance(at: start + .seconds(9)) == 0)
        for step in 1...4 { _ = slow.allowance(at: start + .seconds(9) + .microseconds(400 * step)) }
        #expect(slow.allowance(at: start + .seconds(9) + .microseconds(2_300)) == 2)
        #expect(slow.pause > .seconds(65.53) && slow.pause < .seconds(65.54))
        var fast = TokenBucket(rate: 10_000_000, now: start)
        #expect(fast.allowance(at: start) == 500_000)
        #expect(fast.allowance(at: start + .seconds(60)) == 500_000)
        fast.spend(800_000)
        #expect(fast.allowance(at: start + .seconds(60)) == -300_000)
        #expect(fast.pause > .milliseconds(36.5) && fast.pause < .milliseconds(36.6))
        #expect(fast.allowance(at: start + .seconds(60) + .milliseconds(40)) == 100_000)
        #expect(fast.allowance(at: start + .seconds(61)) == 500_000)
    }
}
