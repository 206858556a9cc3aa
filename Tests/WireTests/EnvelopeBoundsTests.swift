import ClusterKeys
import ClusterModel
import Sodium
import Testing

@testable import Wire

/// Bounds of the envelope and of replay windows, to the bit.
@Suite struct `Bounds of the envelope` {
    private static func seal(_ ring: ClusterKeyRing, node: UInt64 = 1, boot: UInt64 = 10) throws -> DatagramSeal {
        try DatagramSeal(keys: ring, clusterName: "c", node: node, bootID: boot)
    }

    private static func open(_ seal: inout DatagramSeal, _ packet: [UInt8], now: UInt64 = 0) -> DatagramSeal.Result {
        var bytes = packet
        return seal.open(&bytes, now: now)
    }

    private static func fields(
        _ seal: inout DatagramSeal, _ packet: [UInt8], now: UInt64 = 0
    ) -> DatagramSeal.Opened? {
        guard case .opened(let opened) = open(&seal, packet, now: now) else { return nil }
        return opened
    }

    @Test func `eight keys that are gone are told from strangers, the ninth last is one`() throws {
        let rings = try (0..<10).map { _ in ClusterKeyRing(primary: try .generate()) }
        let packets = try rings.map { ring in
            var sender = try Self.seal(ring, node: 2)
            return sender.seal([1], for: nil)
        }
        var receiver = try Self.seal(rings[0])
        for ring in rings[1...8] { try receiver.replaceKeys(ring) }
        do { let found = Self.open(&receiver, packets[0]); #expect(found == .dropped(.retiredKey)) }
        try receiver.replaceKeys(rings[9])
        do { let found = Self.open(&receiver, packets[0]); #expect(found == .dropped(.foreign)) }
        for packet in packets[1...8] {
            let found = Self.open(&receiver, packet)
            #expect(found == .dropped(.retiredKey))
        }
        do { let found = Self.fields(&receiver, packets[9]); #expect(found != nil) }
        // Two keys that take turns do not push out the others.
        for _ in 0..<8 {
            try receiver.replaceKeys(rings[8])
            try receiver.replaceKeys(rings[9])
        }
        do { let found = Self.open(&receiver, packets[2]); #expect(found == .dropped(.retiredKey)) }
        do { let found = Self.fields(&receiver, packets[9]); #expect(found != nil) }
    }

    @Test func `other versions and flags that nobody sets are another protocol`() throws {
        let ring = ClusterKeyRing(primary: try .generate())
        var (sender, receiver) = try (Self.seal(ring), Self.seal(ring, node: 2))
        var packet = sender.seal([1, 2], for: nil)
        for first in [0x00, 0x20, 0xF0, 0x14, 0x18, 0x1F] as [UInt8] {
            packet[0] = first
            let found = Self.open(&receiver, packet)
            #expect(found == .dropped(.unknownVersion), "\(first)")
        }
        for first in [0x11, 0x12, 0x13] as [UInt8] {
            packet[0] = first
            let found = Self.open(&receiver, packet)
            #expect(found == .dropped(.forged), "\(first)")
        }
    }

    @Test func `an opened packet says whether it was bound, and under which key`() throws {
        let (old, new) = try (ClusterKey.generate(), ClusterKey.generate())
        var ring = ClusterKeyRing(primary: old)
        var sender = try Self.seal(ring)
        let receiverID = DatagramSeal.Receiver(node: 2, bootID: 20)
        var receiver = try Self.seal(ring, node: 2, boot: 20)
        let bound = sender.seal([1], for: receiverID)
        let open = sender.seal([2], for: nil)
        do {
            let (first, second) = (Self.fields(&receiver, bound), Self.fields(&receiver, open))
            #expect(first?.isBound == true && second?.isBound == false)
            #expect(first?.isPrimary == true && first?.isRetired == false && first?.key == old.fingerprint)
            #expect(first?.node == 1 && first?.bootID == 10 && first?.counter == 1 && second?.counter == 2)
        }
        try ring.install(new)
        try ring.use(new.fingerprint)
        try receiver.replaceKeys(ring)
        do {
            let found = Self.fields(&receiver, open)
            #expect(found?.isPrimary == false && found?.isRetired == false && found?.key == old.fingerprint)
        }
        try ring.remove(old.fingerprint, graceSeconds: 100, now: 1_000)
        try receiver.replaceKeys(ring)
        do {
            let found = Self.fields(&receiver, open, now: 1_099)
            #expect(found?.isPrimary == false && found?.isRetired == true)
        }
    }

    @Test func `with a higher boot id packets are sealed under it and opened that are bound to it, no others`() throws {
        let ring = ClusterKeyRing(primary: try .generate())
        var (sender, receiver) = try (Self.seal(ring), Self.seal(ring, node: 2, boot: 20))
        let before = sender.seal([1], for: DatagramSeal.Receiver(node: 2, bootID: 20))
        let after = sender.seal([1], for: DatagramSeal.Receiver(node: 2, bootID: 21))
        receiver.takeBootID(21)
        do { let found = Self.open(&receiver, before); #expect(found == .dropped(.forged)) }
        do { let found = Self.fields(&receiver, after); #expect(found?.counter == 2) }
        let answer = receiver.seal([1], for: nil)
        do { let found = Self.fields(&sender, answer); #expect(found?.bootID == 21 && found?.node == 2) }
    }

    @Test func `padding ends in its mark and zeros, whoever sealed it`() throws {
        let key = try ClusterKey.generate()
        let ring = ClusterKeyRing(primary: key)
        var (sender, receiver) = try (Self.seal(ring), Self.seal(ring, node: 2))
        let sealing = SealingKey(try key.derive("peerbuild datagram 1"))
        /// Seals `plain` as padded, under a header that the sender made.
        func packet(_ plain: [UInt8]) -> [UInt8] {
            var bytes = Array(sender.seal([], for: nil)[..<DatagramSeal.headerBytes])
            bytes[0] |= 2
            let header = bytes + Array("c".utf8) + [UInt8](repeating: 0, count: 16)
            bytes += plain + [UInt8](repeating: 0, count: SealingKey.tagBytes)
            sealing.seal(&bytes, range: 28..<28 + plain.count, nonce: Array(bytes[4..<28]), authenticating: header)
            return bytes
        }
        do { let found = Self.fields(&receiver, packet([7, 0x80, 0, 0])); #expect(found != nil) }
        for plain in [[7, 0, 0], [7, 0x81, 0], [0, 0], []] as [[UInt8]] {
            let found = Self.open(&receiver, packet(plain))
            #expect(found == .dropped(.forged), "\(plain)")
        }
    }

    @Test func `padding is added to the size that is asked for, and none beyond it`() throws {
        var sender = try Self.seal(ClusterKeyRing(primary: .generate()))
        for (count, padded, flags) in [(100, 145, 2), (100, 144, 0), (100, 143, 0), (0, 0, 0)] as [(Int, Int, UInt8)] {
            let packet = sender.seal([UInt8](repeating: 9, count: count), for: nil, paddedTo: padded)
            #expect(packet.count == max(padded, count + 44) && packet[0] == 0x10 | flags)
        }
    }

    @Test(arguments: UInt64(0)..<20) func `a replay window admits what is new within 1,024, and nothing twice`(
        _ seed: UInt64
    ) {
        var random = SplitMix64(seed: seed)
        var window = ReplayWindow()
        var seen: Set<UInt64> = []
        var newest: UInt64 = UInt64.random(in: 0...70, using: &random)
        var isFirst = true
        for _ in 0..<6_000 {
            var counter = newest
            if !isFirst {
                switch UInt64.random(in: 0..<10, using: &random) {
                case 0..<5: counter += UInt64.random(in: 0...3, using: &random)
                case 5: counter += UInt64.random(in: 0...200, using: &random)
                case 6 where UInt64.random(in: 0..<20, using: &random) == 0:
                    counter += [64, 1_023, 1_024, 1_025, 1_087, 1_088, 5_000].randomElement(using: &random) ?? 0
                default: counter -= min(newest, UInt64.random(in: 0...1_100, using: &random))
                }
            }
            isFirst = false
            let isTooOld = newest >= 1_024 && counter <= newest - 1_024
            let isAdmitted = window.admit(counter)
            #expect(isAdmitted == (!isTooOld && !seen.contains(counter)), "\(counter) with \(newest)")
            seen.insert(counter)
            newest = max(newest, counter)
        }
        #expect(newest > 10_000)
    }

    @Test func `the first counter of a sender may be zero, and a far jump forgets all of it`() {
        var window = ReplayWindow()
        let zero = [window.admit(0), window.admit(0)]
        #expect(zero == [true, false])
        // 17 words on, in the same place of the window's memory.
        let around = [window.admit(1_088), window.admit(1_088), window.admit(64), window.admit(65)]
        #expect(around == [true, false, false, true])
        for counter in 65...1_088 as ClosedRange<UInt64> { _ = window.admit(counter) }
        for step in 1...40 as ClosedRange<UInt64> {
            // All places have to be clear after a jump over the whole window.
            let newest = 1_088 + step * 4_000
            let isFresh = window.admit(newest)
            #expect(isFresh)
            for back in 1...1_023 as ClosedRange<UInt64> {
                let isNew = window.admit(newest - back)
                #expect(isNew)
            }
        }
    }

    @Test func `who spoke last is remembered longest, and a new boot begins with an empty window`() {
        var replays = ReplayGuard(sendersMax: 8)
        func admit(_ node: UInt64, _ boot: UInt64 = 1, _ counter: UInt64 = 1) -> ReplayGuard.Verdict {
            replays.admit(node: node, bootID: boot, counter: counter)
        }
        for node in 1...8 as ClosedRange<UInt64> { _ = admit(node) }
        #expect(admit(1, 1, 2) == .fresh)
        // The ninth takes the place of the two that are silent for longest.
        #expect(admit(9) == .fresh)
        #expect(replays.sendersCount == 7)
        for node in [1, 4, 5, 6, 7, 8, 9] as [UInt64] { #expect(admit(node) == .replayed, "\(node)") }
        #expect(admit(2) == .fresh)
        #expect(replays.sendersCount == 8)
        #expect(admit(1, 2, 2) == .fresh, "the counters of another boot")
        #expect(admit(1, 2, 2) == .replayed)
        #expect(admit(1, 1, 99) == .staleBoot)
    }

    @Test func `256 causes are told apart; one more forgets them all`() {
        var log = CauseLog<Int>()
        let start = ContinuousClock.now
        for cause in 0..<256 { _ = log.due(cause, at: start) }
        let known = [
            log.due(0, at: start), log.due(255, at: start + .seconds(59)), log.due(0, at: start + .seconds(60)),
        ]
        #expect(known == [nil, nil, 1])
        let kept = log.due(255, at: start + .seconds(59))
        #expect(kept == nil, "one that is due again is no further cause")
        let more = log.due(256, at: start + .seconds(60))
        let forgotten = log.due(255, at: start + .seconds(59))
        #expect(more == 0 && forgotten == 0)
    }
}

@Suite struct `Bounds of addresses` {
    private let now = ContinuousClock.now
    private let address = PeerAddress(host: "10.0.0.9", port: 7_946)
    private let peer = DatagramSeal.Receiver(node: 4, bootID: 2)

    private func address(_ number: Int) -> PeerAddress { PeerAddress(host: "10.0.0.8", port: UInt16(number)) }

    @Test func `an address is bound for eight packets without an answer, and for ten minutes`() {
        var heard = HeardPeers()
        func permit(_ later: Duration = .zero) -> HeardPeers.Permit {
            heard.permit(100, to: address, now: now + later)
        }
        heard.know(peer, at: address, now: now)
        for _ in 0..<8 { #expect(permit() == .bound(peer)) }
        #expect(permit() == .open(isKnown: true))
        heard.heard(peer, at: address, bytes: 50, isBound: false, now: now + .seconds(5))
        #expect(permit(.seconds(605) - .nanoseconds(1)) == .bound(peer))
        #expect(permit(.seconds(605)) == .open(isKnown: true))
        #expect(heard.permit(100, to: address(1), now: now) == .open(isKnown: false))
    }

    @Test func `credit is what came, to the byte, and no more than one longest datagram`() {
        var heard = HeardPeers()
        func permit(_ bytes: Int) -> HeardPeers.Permit { heard.permit(bytes, to: address, now: now) }
        heard.heard(peer, at: address, bytes: 60, isBound: false, now: now)
        heard.heard(peer, at: address, bytes: 40, isBound: false, now: now)
        #expect(permit(101) == .withheld)
        #expect(permit(100) == .bound(peer))
        #expect(permit(1) == .withheld)
        for _ in 0..<3 { heard.heard(peer, at: address, bytes: 8_000, isBound: false, now: now) }
        #expect(permit(8_901) == .withheld)
        #expect(permit(8_900) == .bound(peer))
        heard.heard(peer, at: address, bytes: 10, isBound: false, now: now)
        for _ in 0..<8 { #expect(permit(1) == .bound(peer)) }
        #expect(permit(1) == .open(isKnown: false), "who has proved nothing is a stranger")
    }

    @Test func `a proof holds for the node, over its restart, and for nobody else`() {
        var heard = HeardPeers()
        let restarted = DatagramSeal.Receiver(node: 4, bootID: 3)
        heard.heard(peer, at: address, bytes: 10, isBound: true, now: now)
        heard.heard(restarted, at: address, bytes: 10, isBound: false, now: now)
        #expect(heard.permit(9_000, to: address, now: now) == .bound(restarted))
        let other = DatagramSeal.Receiver(node: 5, bootID: 3)
        heard.heard(other, at: address, bytes: 10, isBound: false, now: now)
        #expect(heard.permit(11, to: address, now: now) == .withheld)
        heard.heard(restarted, at: address, bytes: 10, isBound: false, now: now)
        #expect(heard.permit(9_000, to: address, now: now) == .withheld, "it has to prove it anew")
    }

    @Test func `the member table's word counts when it is newer or about another node`() {
        var heard = HeardPeers()
        func receiver() -> HeardPeers.Permit { heard.permit(1, to: address, now: now) }
        heard.heard(peer, at: address, bytes: 100, isBound: false, now: now)
        heard.know(peer, at: address, now: now)
        #expect(heard.permit(101, to: address, now: now) == .withheld, "the same boot is no news")
        let newer = DatagramSeal.Receiver(node: 4, bootID: 3)
        heard.know(newer, at: address, now: now)
        #expect(heard.permit(101, to: address, now: now) == .bound(newer))
        heard.know(peer, at: address, now: now)
        #expect(receiver() == .bound(newer))
        let other = DatagramSeal.Receiver(node: 9, bootID: 1)
        heard.know(other, at: address, now: now)
        #expect(receiver() == .bound(other))
    }

    @Test func `a packet of an earlier start proves nothing, and is answered in kind only`() {
        var heard = HeardPeers()
        let stale = DatagramSeal.Receiver(node: 4, bootID: 1)
        let isFirst = heard.heardStale(stale, at: address, bytes: 50, now: now)
        #expect(isFirst)
        #expect(heard.permit(51, to: address, now: now) == .withheld)
        #expect(heard.permit(50, to: address, now: now) == .bound(stale))
        heard.heard(peer, at: address, bytes: 10, isBound: true, now: now)
        let taken = heard.heardStale(stale, at: address, bytes: 50, now: now)
        #expect(!taken)
        #expect(heard.permit(9_000, to: address, now: now) == .bound(peer))
    }

    @Test func `4,096 addresses are kept, and new ones when old ones are stale`() {
        var heard = HeardPeers()
        for port in 0..<4_095 { heard.know(peer, at: address(port), now: now) }
        heard.heard(peer, at: address(4_095), bytes: 1, isBound: true, now: now + .seconds(1))
        #expect(heard.count == 4_096)
        heard.know(peer, at: address(5_000), now: now + .seconds(1))
        heard.heard(peer, at: address(5_001), bytes: 1, isBound: true, now: now + .seconds(1))
        let isStaleKept = heard.heardStale(peer, at: address(5_002), bytes: 1, now: now + .seconds(1))
        #expect(heard.count == 4_096 && !isStaleKept)
        #expect(heard.permit(1, to: address(5_000), now: now) == .open(isKnown: false))
        // Those that are known are kept up in a full table.
        let newer = DatagramSeal.Receiver(node: 4, bootID: 9)
        heard.know(newer, at: address(7), now: now + .seconds(1))
        #expect(heard.permit(1, to: address(7), now: now + .seconds(2)) == .bound(newer))
        heard.know(peer, at: address(5_000), now: now + .seconds(600))
        #expect(heard.count == 3, "one was heard later, one was named later, one is new")
    }

    @Test func `services beyond 64 are counted together`() {
        var counters = LinkCounters()
        for number in 0..<70 { counters.count(service: "s\(number)") { $0.streamsOpened += 1 } }
        counters.count(service: "s3") { $0.streamsOpened += 1 }
        #expect(counters.services.count == 65 && counters.services["other"]?.streamsOpened == 6)
        #expect(counters.services["s3"]?.streamsOpened == 2)
    }
}
