import ClusterModel
import Testing

@testable import Wire

/// Finding nodes by multicast DNS, without sockets.
@Suite struct DiscoveryTests {
    /// Beacons on one link that loses nothing; each hears itself too, as multicast does.
    private struct LinkOfBeacons {
        var beacons: [LinkBeacon]
        var wakes: [MonotonicInstant?]
        var found: [[PeerAddress]]
        var now = MonotonicInstant.zero
        var sent: [[UInt8]] = []

        init(_ count: Int) {
            beacons = (1...count).map { number in
                LinkBeacon(
                    id: PeerID(rawValue: UInt64(number)),
                    addresses: [
                        PeerAddress(host: "10.0.0.\(number)", port: 7_946),
                        PeerAddress(host: "fd00::\(number)", port: 7_946),
                    ], random: SplitMix64(seed: UInt64(number)))
            }
            wakes = beacons.map { _ in nil }
            found = beacons.map { _ in [] }
        }

        mutating func handle(_ event: LinkBeacon.Event, at index: Int) {
            var messages: [[UInt8]] = []
            for effect in beacons[index].handle(event, at: now) {
                switch effect {
                case .send(let bytes): messages.append(bytes)
                case .wake(let instant): wakes[index] = instant
                case .found(let addresses): found[index] = addresses
                }
            }
            sent += messages
            for message in messages {
                for other in beacons.indices { handle(.datagram(message, port: LinkBeacon.port), at: other) }
            }
        }

        mutating func run(until end: MonotonicInstant) {
            while let next = wakes.compactMap(\.self).min(), next <= end {
                now = max(now, next)
                for index in beacons.indices {
                    guard let due = wakes[index], due <= now else { continue }
                    wakes[index] = nil
                    handle(.timer, at: index)
                }
            }
            now = end
        }
    }

    @Test func `nodes of a link find each other, and forget who says good-bye or is silent`() {
        var link = LinkOfBeacons(3)
        for index in 0..<3 { link.handle(.start, at: index) }
        link.run(until: .zero + .seconds(3))
        for (index, addresses) in link.found.enumerated() {
            let others = [1, 2, 3].filter { $0 != index + 1 }
            #expect(Set(addresses.map(\.host)) == Set(others.flatMap { ["10.0.0.\($0)", "fd00:0:0:0:0:0:0:\($0)"] }))
        }
        link.handle(.stop, at: 2)
        link.wakes[2] = nil
        #expect(!link.found[0].contains { $0.host == "10.0.0.3" })
        // The second stops without a word; the first goes on asking in vain.
        let silent = link.beacons.remove(at: 1)
        link.wakes.remove(at: 1)
        #expect(silent.malformed == 0)
        link.run(until: link.now + .seconds(300))
        #expect(link.found[0].isEmpty)
    }

    @Test func `a link where all is known is quiet`() {
        var link = LinkOfBeacons(4)
        for index in 0..<4 { link.handle(.start, at: index) }
        link.run(until: .zero + .seconds(600))
        let before = link.sent.count
        link.run(until: .zero + .seconds(1_200))
        // A question a minute each, and answers when half of a lifetime is over, at most.
        #expect(link.sent.count - before <= 4 * 10 * 2)
        #expect(link.found.allSatisfy { $0.count == 6 })
    }

    @Test func `hostile answers bound what is kept and never become an address of nobody`() {
        var beacon = LinkBeacon(
            id: PeerID(rawValue: 1), addresses: [PeerAddress(host: "10.0.0.1", port: 7_946)],
            random: SplitMix64(seed: 1))
        var found: [PeerAddress] = []
        func answer(_ number: Int, _ address: [UInt8]) -> [UInt8] {
            var message = DNSMessage(isResponse: true)
            let host = DNSName(["h\(number)", "local"])
            message.records = [
                DNSMessage.Record(
                    name: DNSName(["n\(number)", "_peerbuild", "_udp", "local"]), lifetime: .max,
                    content: .service(target: host, port: 7_946)),
                DNSMessage.Record(name: host, lifetime: .max, content: .address(address)),
            ]
            return message.encoded()
        }
        for number in 0..<1_000 {
            let bytes = answer(number, [10, 1, UInt8(number >> 8), UInt8(number & 255)])
            let effects = beacon.handle(.datagram(bytes, port: LinkBeacon.port), at: .zero)
            for case .found(let now) in effects { found = now }
        }
        #expect(found.count == LinkBeacon.foundMax)
        for bytes in [[224, 0, 0, 251], [0, 0, 0, 0], [UInt8](repeating: 0, count: 16)] {
            let effects = beacon.handle(.datagram(answer(0, bytes), port: LinkBeacon.port), at: .zero)
            #expect(!effects.contains { if case .found = $0 { true } else { false } })
        }
        // From another port it is no multicast DNS.
        let other = beacon.handle(.datagram(answer(0, [10, 9, 9, 9]), port: 1_234), at: .zero)
        #expect(!other.contains { if case .found = $0 { true } else { false } })
    }

    @Test func `messages come back as they were`() throws {
        var message = DNSMessage(isResponse: true)
        let name = DNSName(["ABC", "_peerbuild", "_udp", "local"])
        message.questions = [DNSMessage.Question(name: LinkBeacon.service, kind: 12)]
        message.records = [
            DNSMessage.Record(name: LinkBeacon.service, lifetime: 120, content: .pointer(name)),
            DNSMessage.Record(
                name: name, lifetime: 120, content: .service(target: DNSName(["h", "local"]), port: 7_946),
                isUnique: true),
            DNSMessage.Record(name: name, lifetime: 120, content: .text([0]), isUnique: true),
            DNSMessage.Record(name: name, lifetime: 0, content: .address([10, 0, 0, 1])),
            DNSMessage.Record(name: name, lifetime: 1, content: .address([UInt8](repeating: 7, count: 16))),
        ]
        #expect(try DNSMessage(decoding: message.encoded()) == message)
        #expect(name == DNSName(["abc", "_PEERBUILD", "_udp", "local"]))
    }

    @Test func `a name by pointers is read, and one that leads in a circle is an error`() throws {
        // RFC 1035, 4.1.4: F.ISI.ARPA at 12, FOO.F.ISI.ARPA by a pointer to it.
        let header: [UInt8] = [0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]
        let first: [UInt8] = Array("\u{1}F\u{3}ISI\u{4}ARPA\u{0}".utf8) + [0, 1, 0, 1]
        let second: [UInt8] = [3] + Array("FOO".utf8) + [0xC0, 12, 0, 1, 0, 1]
        let message = try DNSMessage(decoding: header + first + second)
        let names = [DNSName(["f", "isi", "arpa"]), DNSName(["foo", "f", "isi", "arpa"])]
        #expect(message.questions.map(\.name) == names)
        let circles: [[UInt8]] = [
            [0xC0, 12, 0, 1, 0, 1], [0xC0, 14, 0xC0, 12, 0, 1, 0, 1], [1, 65, 0xC0, 12, 0, 1, 0, 1],
        ]
        for circle in circles {
            #expect(throws: DNSMessage.Fault.self) {
                _ = try DNSMessage(decoding: [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] + circle)
            }
        }
    }

    @Test(arguments: UInt64(0)..<100) func `any bytes give a message or an error`(_ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var link = LinkOfBeacons(2)
        for index in 0..<2 { link.handle(.start, at: index) }
        link.run(until: .zero + .seconds(2))
        let samples = link.sent
        for _ in 0..<200 {
            var bytes = samples[Int(random.next() >> 33) % samples.count]
            for _ in 0..<1 + Int(random.next() >> 33) % 6 {
                bytes[Int(random.next() >> 33) % bytes.count] = UInt8(truncatingIfNeeded: random.next() >> 40)
            }
            bytes.removeLast(Int(random.next() >> 33) % bytes.count)
            guard let message = try? DNSMessage(decoding: bytes) else { continue }
            #expect(message.records.count <= DNSMessage.entriesMax)
            _ = link.beacons[0].handle(.datagram(bytes, port: LinkBeacon.port), at: link.now)
        }
    }

    @Test func `addresses are read and written`() {
        #expect(IPAddressText.bytes(of: "10.0.0.255") == [10, 0, 0, 255])
        #expect(IPAddressText.bytes(of: "fd00::1") == [0xFD] + [UInt8](repeating: 0, count: 14) + [1])
        #expect(IPAddressText.bytes(of: "::1") == [UInt8](repeating: 0, count: 15) + [1])
        for text in ["", "10.0.0", "10.0.0.256", "1:2:3", "1::2::3", ":::", "12345::", "fe80::1%eth0"] {
            #expect(IPAddressText.bytes(of: text) == nil, "\(text)")
        }
        #expect(IPAddressText.text(of: [0xFE, 0x80] + [UInt8](repeating: 1, count: 14)) == nil)
    }
}
