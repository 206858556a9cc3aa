import ClusterModel
import Sodium
import Testing

@testable import UVLoop
@testable import Wire

@Suite struct `Records of a link` {
    /// Seals or opens one record by hand.
    private static func sealed(_ text: [UInt8], _ cipher: inout RecordCipher) throws -> ByteBlock {
        let block = ByteBlock(capacity: text.count + RecordCipher.overhead)
        for (index, byte) in text.enumerated() { block.start[RecordCipher.lengthBytes + index] = byte }
        try cipher.seal(block.start, textBytes: text.count)
        return block
    }

    @Test(arguments: RecordAlgorithm.available)
    func `keys change by bytes and by records, and both directions keep up`(_ algorithm: RecordAlgorithm) throws {
        let key = try RecordKey(try .random(count: 32), algorithm: algorithm)
        for (bytes, records) in [(1_000, UInt64(1_000)), (1 << 30, UInt64(3))] {
            var sealing = RecordCipher(key: key, rekeyBytes: bytes, rekeyRecords: records)
            var opening = RecordCipher(key: key, rekeyBytes: bytes, rekeyRecords: records)
            var unaware = RecordCipher(key: key)
            var unawareOpened = 0
            for number in 0..<50 {
                let text = [UInt8](repeating: UInt8(number), count: 300)
                let record = try Self.sealed(text, &sealing)
                let copy = ByteBlock(capacity: record.capacity)
                copy.start.update(from: record.start, count: record.capacity)
                let isOpen = try opening.open(record.start, textBytes: 300)
                #expect(isOpen)
                #expect([UInt8](record.bytes(RecordCipher.lengthBytes..<RecordCipher.lengthBytes + 300)) == text)
                if try unaware.open(copy.start, textBytes: 300) { unawareOpened += 1 }
            }
            #expect(sealing.passed.rekeys == opening.passed.rekeys && sealing.passed.rekeys >= 12)
            #expect(unawareOpened <= 4)
        }
    }

    /// What a relay in between can do with records.
    enum Mischief: CaseIterable { case flip, repeated, leaveOut, swap, cut, splice }

    @Test(arguments: Mischief.allCases, UInt64(0)..<20)
    func `a record that is not the next one ends the link`(_ mischief: Mischief, _ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var (dialer, listener) = try machines()
        _ = try exchange(&dialer, &listener)
        let id = try dialer.streams.open(service: "bulk", priority: .pull)
        _ = dialer.streams.send([UInt8](repeating: 3, count: 200_000), on: id)
        var records = try dialer.takeRecords()
        try #require(records.count >= 3)
        let index = Int.random(in: 0..<records.count - 1, using: &random)
        switch mischief {
        case .flip:
            let place = Int.random(in: RecordCipher.lengthBytes..<records[index].count, using: &random)
            records[index][place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case .repeated: records.insert(records[index], at: index + 1)
        case .leaveOut: records.remove(at: index)
        case .swap: records.swapAt(index, index + 1)
        case .cut: records[index].removeLast(Int.random(in: 1...40, using: &random))
        case .splice: records[index] = records[index + 1]
        }
        var fault: (any Error)?
        var events: [LinkMachine.Event] = []
        do {
            for record in records { events += try listener.receive(record) }
        } catch {
            fault = error
        }
        // A record that was cut is read with what follows it, and may announce any length.
        let isNoticed = mischief == .cut ? fault is LinkFault : fault as? LinkFault == .damaged
        #expect(isNoticed, "\(String(describing: fault))")
        #expect(!events.contains(.stream(.readable(stream: id))) || mischief == .repeated)
    }

    @Test(arguments: [0, 1, 16, WireLimits.recordTextBytesMax + 17, 1 << 24, 1 << 31, (1 << 32) - 1])
    func `a length that no record has is refused before anything is kept`(_ length: Int) throws {
        var (dialer, listener) = try machines()
        _ = try exchange(&dialer, &listener)
        let bytes = (0..<4).map { UInt8(length >> ((3 - $0) * 8) & 255) }
        #expect {
            _ = try listener.receive(bytes)
        } throws: {
            "\($0)".contains("a record of \(length) bytes")
        }
    }

    @Test func `an idle machine holds no block`() throws {
        let pool = BlockPool(blockBytes: WireLimits.blockBytes, keptMax: 1)
        var inbound = InboundBytes(pool: pool)
        let first = inbound.room()
        inbound.filled(0)
        let second = inbound.room()
        #expect(first.start == second.start && first.count == WireLimits.blockBytes)
        inbound.filled(10)
        #expect(inbound.count == 10)
        let taken = inbound.take(10)
        #expect(taken.count == 10 && inbound.count == 0)
        let third = inbound.room()
        #expect(third.start == first.start && third.count == WireLimits.blockBytes)
    }
}

@Suite struct `The handshake` {
    @Test func `takes the best cipher of both`() throws {
        for (dialers, listeners) in [
            (RecordAlgorithm.available, RecordAlgorithm.available), ([.chacha20Poly1305], RecordAlgorithm.available),
            (RecordAlgorithm.available, [.chacha20Poly1305]),
        ] {
            var (dialer, listener) = try machines {
                $1.ciphers = $0 == .dialer ? dialers : listeners
            }
            _ = try exchange(&dialer, &listener)
            let common = listeners.first { dialers.contains($0) }
            #expect(dialer.algorithm == common && listener.algorithm == common && common != nil)
        }
    }

    @Test func `fails when somebody changes a message, whichever byte`() throws {
        let keys = ClusterKeyRing(primary: try .generate())
        let lengths = try {
            var (dialer, listener) = try machines(keys: keys)
            let hello = try dialer.takeOutput().bytes
            _ = try listener.receive(hello)
            let reply = try listener.takeOutput().bytes
            _ = try dialer.receive(reply)
            return [hello.count, reply.count, dialer.takeHandshakeOutput().count]
        }()
        for (message, length) in lengths.enumerated() {
            for byte in stride(from: 0, to: length, by: 3) {
                var (dialer, listener) = try machines(keys: keys)
                #expect(throws: Handshake.Fault.self, "message \(message), byte \(byte)") {
                    var hello = try dialer.takeOutput().bytes
                    if message == 0 { hello[byte] ^= 1 }
                    _ = try listener.receive(hello)
                    var reply = try listener.takeOutput().bytes
                    if message == 1 { reply[byte] ^= 1 }
                    _ = try dialer.receive(reply)
                    var proof = dialer.takeHandshakeOutput()
                    if message == 2 { proof[byte] ^= 1 }
                    _ = try listener.receive(proof)
                }
            }
        }
    }

    @Test func `a hello that does not prove the key is not answered, whichever of its bytes is wrong`() throws {
        let keys = ClusterKeyRing(primary: try .generate())
        var (dialer, listener) = try machines(keys: keys)
        let hello = try dialer.takeOutput().bytes
        for byte in hello.indices {
            var copy = listener
            var wrong = hello
            wrong[byte] ^= 1
            #expect(throws: Handshake.Fault.self, "byte \(byte)") { _ = try copy.receive(wrong) }
            #expect(try copy.takeOutput().bytes.isEmpty)
        }
        _ = try listener.receive(hello)
        #expect(try !listener.takeOutput().bytes.isEmpty)
    }

    @Test func `opens under any key of the ring, and not under a retired one`() throws {
        let (old, new) = (try ClusterKey.generate(), try ClusterKey.generate())
        let cases: [(ClusterKeyRing, ClusterKeyRing, Bool)] = [
            (ClusterKeyRing(primary: old), ClusterKeyRing(primary: new, others: [old]), true),
            (ClusterKeyRing(primary: new, others: [old]), ClusterKeyRing(primary: old, others: [new]), true),
            (ClusterKeyRing(primary: old), ClusterKeyRing(primary: new), false),
        ]
        for (dialers, listeners, works) in cases {
            var (dialer, listener) = try machines { $1.keys = $0 == .dialer ? dialers : listeners }
            let fault = try? exchange(&dialer, &listener)
            #expect((fault != nil) == works)
            #expect(listener.isEstablished == works)
            if works { #expect(listener.clusterKeyID == dialers.primary.id) }
        }
    }

    @Test func `says so when the other version calls, and when ciphers differ`() throws {
        var (dialer, listener) = try machines()
        var hello = try dialer.takeOutput().bytes
        hello[3] = UInt8(ascii: "9")
        #expect(throws: Handshake.Fault.otherVersion) { _ = try listener.receive(hello) }
        guard RecordAlgorithm.available.count > 1 else { return }
        var (chacha, aes) = try machines {
            $1.ciphers = $0 == .dialer ? [.chacha20Poly1305] : [.aes256GCM]
        }
        #expect(throws: Handshake.Fault.noCipher) { _ = try exchange(&chacha, &aes) }
    }
}
