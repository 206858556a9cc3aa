import ClusterKeys
import ClusterModel
import Sodium
import Testing

@testable import Wire

/// Two ends of an envelope, with a known ring.
private struct Ends {
    static let receiver = DatagramSeal.Receiver(node: 2, bootID: 20)
    var sender: DatagramSeal
    var receiver: DatagramSeal

    init(_ ring: ClusterKeyRing, receiverRing: ClusterKeyRing? = nil) throws {
        sender = try DatagramSeal(keys: ring, clusterName: "c", node: 1, bootID: 10)
        receiver = try DatagramSeal(
            keys: receiverRing ?? ring, clusterName: "c", node: Self.receiver.node, bootID: Self.receiver.bootID)
    }
}

@Suite struct `The envelope` {
    private static func opened(_ seal: inout DatagramSeal, _ packet: [UInt8], now: UInt64 = 0) -> [UInt8]? {
        var bytes = packet
        guard case .opened = seal.open(&bytes, now: now) else { return nil }
        return bytes
    }

    private static func cause(_ seal: inout DatagramSeal, _ packet: [UInt8], now: UInt64 = 0) -> DatagramDrop? {
        var bytes = packet
        guard case .dropped(let cause) = seal.open(&bytes, now: now) else { return nil }
        return cause
    }

    @Test(arguments: [0, 1, 13, 468, 1_156, 8_900]) func `adds 44 bytes and gives back what went in`(
        _ count: Int
    ) throws {
        var ends = try Ends(ClusterKeyRing(primary: .generate()))
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let packet = ends.sender.seal(bytes, for: Ends.receiver)
        #expect(packet.count == count + 44)
        do { let found = Self.opened(&ends.receiver, packet); #expect(found == bytes) }
    }

    @Test func `pads first words, whatever they end in`() throws {
        var ends = try Ends(ClusterKeyRing(primary: .generate()))
        for bytes in [[], [0x80], [0, 0], [1, 0x80, 0]] as [[UInt8]] {
            let packet = ends.sender.seal(bytes, for: nil, paddedTo: 1_200)
            #expect(packet.count == 1_200)
            do { let found = Self.opened(&ends.receiver, packet); #expect(found == bytes) }
        }
        let full = ends.sender.seal([UInt8](repeating: 1, count: 1_156), for: nil, paddedTo: 1_200)
        #expect(full.count == 1_200)
    }

    @Test func `never uses a nonce twice, also when keys change`() throws {
        let old = try ClusterKey.generate()
        var ring = ClusterKeyRing(primary: old)
        var seal = try DatagramSeal(keys: ring, clusterName: "c", node: 1, bootID: 10)
        var nonces: Set<[UInt8]> = []
        for number in 0..<3_000 {
            if number == 1_000 {
                let fresh = try ClusterKey.generate()
                try ring.install(fresh)
                try ring.use(fresh.fingerprint)
                try seal.replaceKeys(ring)
            }
            if number == 2_000 { try seal.replaceKeys(ClusterKeyRing(primary: old)) }
            nonces.insert(Array(seal.seal([1], for: nil)[4..<28]))
        }
        #expect(nonces.count == 3_000)
    }

    @Test func `opens a bound packet at its receiver only, and not after its restart`() throws {
        let ring = ClusterKeyRing(primary: try .generate())
        var ends = try Ends(ring)
        let packet = ends.sender.seal([7], for: Ends.receiver)
        var third = try DatagramSeal(keys: ring, clusterName: "c", node: 3, bootID: 20)
        var restarted = try DatagramSeal(keys: ring, clusterName: "c", node: 2, bootID: 21)
        var other = try DatagramSeal(keys: ring, clusterName: "d", node: 2, bootID: 20)
        do { let found = Self.cause(&third, packet); #expect(found == .forged) }
        do { let found = Self.cause(&restarted, packet); #expect(found == .forged) }
        do { let found = Self.cause(&other, packet); #expect(found == .foreign) }
        do { let found = Self.opened(&ends.receiver, packet); #expect(found == [7]) }
    }

    @Test func `names the cause of each drop`() throws {
        var ends = try Ends(ClusterKeyRing(primary: .generate()))
        let packet = ends.sender.seal([1, 2, 3], for: nil)
        do { let found = Self.cause(&ends.receiver, Array(packet[..<43])); #expect(found == .truncated) }
        do { let found = Self.cause(&ends.receiver, []); #expect(found == .truncated) }
        do {
            let found = Self.cause(&ends.receiver, [UInt8](repeating: 0x10, count: 8_945)); #expect(found == .oversized)
        }
        for index in packet.indices {
            for bit in 0..<8 {
                var damaged = packet
                damaged[index] ^= 1 << UInt8(bit)
                let expected: Set<DatagramDrop> =
                    index == 0 ? [.unknownVersion, .forged] : index < 4 ? [.foreign] : [.forged]
                let cause = Self.cause(&ends.receiver, damaged)
                #expect(
                    cause.map(expected.contains) == true, "byte \(index) bit \(bit): \(cause.map(\.rawValue) ?? "-")")
            }
            let cut = Self.cause(&ends.receiver, Array(packet[..<index]))
            #expect(cut == (index < 44 ? .truncated : .forged))
        }
        var strange = try Ends(ClusterKeyRing(primary: .generate()))
        do { let found = Self.cause(&strange.receiver, packet); #expect(found == .foreign) }
    }

    @Test func `a retired key opens until its grace is over and never after`() throws {
        let (old, new) = try (ClusterKey.generate(), ClusterKey.generate())
        var ring = ClusterKeyRing(primary: old)
        var ends = try Ends(ring)
        let packets = (0..<3).map { _ in ends.sender.seal([5], for: nil) }
        try ring.install(new)
        try ring.use(new.fingerprint)
        try ring.remove(old.fingerprint, graceSeconds: 100, now: 1_000)
        try ends.receiver.replaceKeys(ring)
        do { let found = Self.opened(&ends.receiver, packets[0], now: 1_099); #expect(found == [5]) }
        do { let found = Self.cause(&ends.receiver, packets[1], now: 1_100); #expect(found == .retiredKey) }
        ring.expire(at: 1_100)
        #expect(ring.keys.count == 1)
        try ends.receiver.replaceKeys(ring)
        do { let found = Self.cause(&ends.receiver, packets[2], now: 1_100); #expect(found == .retiredKey) }
        // What seals is the new key.
        var away = try DatagramSeal(keys: ClusterKeyRing(primary: old), clusterName: "c", node: 9, bootID: 1)
        do { let found = Self.cause(&away, ends.receiver.seal([1], for: nil)); #expect(found == .foreign) }
    }

    @Test func `a replay window is 1,024 wide, to the packet`() {
        var replays = ReplayGuard()
        func admit(_ counter: UInt64) -> ReplayGuard.Verdict { replays.admit(node: 1, bootID: 1, counter: counter) }
        #expect(admit(2_000) == .fresh)
        #expect(admit(2_000 - 1_023) == .fresh)
        #expect(admit(2_000 - 1_023) == .replayed)
        #expect(admit(2_000 - 1_024) == .replayed)
        #expect(admit(1 << 40) == .fresh)
        #expect(admit(2_000) == .replayed)
        #expect(admit(.max) == .fresh)
        #expect(admit(.max) == .replayed)
    }

    @Test func `replay memory is bounded however many nodes speak`() {
        var replays = ReplayGuard()
        for node in 0..<UInt64(20_000) { _ = replays.admit(node: node, bootID: 1, counter: 1) }
        #expect(replays.sendersCount <= WireLimits.replaySendersMax)
        // The newest are kept.
        let again = replays.admit(node: 19_999, bootID: 1, counter: 1)
        #expect(again == .replayed)
    }

    @Test func `an address that has proved nothing gets no more bytes than it sent`() {
        var heard = HeardPeers()
        let now = ContinuousClock.now
        let address = PeerAddress(host: "10.0.0.9", port: 7_946)
        let peer = DatagramSeal.Receiver(node: 4, bootID: 1)
        func maySend(_ bytes: Int) -> Bool {
            heard.permit(bytes, to: address, now: now) != .withheld
        }
        #expect(maySend(1_200), "this node speaks first")
        heard.heard(peer, at: address, bytes: 300, isBound: false, now: now)
        #expect(maySend(200))
        #expect(!maySend(101))
        #expect(maySend(100))
        #expect(!maySend(1))
        heard.heard(peer, at: address, bytes: 44, isBound: true, now: now)
        #expect(maySend(1_200))
        // Somebody else at that address has to prove itself again.
        heard.heard(DatagramSeal.Receiver(node: 5, bootID: 1), at: address, bytes: 50, isBound: false, now: now)
        #expect(!maySend(51))
        for port in 0..<UInt16(10_000) {
            heard.heard(peer, at: PeerAddress(host: "10.0.0.8", port: port), bytes: 1, isBound: false, now: now)
        }
        #expect(heard.count <= HeardPeers.addressesMax)
    }

    @Test func `packets are bound to who is known until nothing comes back`() {
        var heard = HeardPeers()
        let now = ContinuousClock.now
        let address = PeerAddress(host: "10.0.0.9", port: 7_946)
        let peer = DatagramSeal.Receiver(node: 4, bootID: 1)
        func receiver(_ later: Duration = .zero) -> DatagramSeal.Receiver? {
            guard case .bound(let receiver) = heard.permit(100, to: address, now: now + later) else { return nil }
            return receiver
        }
        #expect(receiver() == nil)
        heard.know(peer, at: address, now: now)
        for _ in 0..<HeardPeers.unansweredMax { #expect(receiver() == peer) }
        #expect(receiver() == nil, "it may have started anew")
        let restarted = DatagramSeal.Receiver(node: 4, bootID: 2)
        heard.heard(restarted, at: address, bytes: 80, isBound: true, now: now)
        heard.know(peer, at: address, now: now)
        #expect(receiver() == restarted, "an older word changes nothing")
        #expect(receiver(HeardPeers.freshFor) == nil)
    }
}
