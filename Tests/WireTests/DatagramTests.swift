import ClusterModel
import Logging
import Sodium
import Testing
import UVLoop

@testable import Wire

/// A bare UDP socket, for packets that no node would send.
actor RawSocket {
    private let loop: LoopThread
    private var socket: UDPSocket?
    nonisolated let packets: AsyncStream<[UInt8]>
    private let inbox: AsyncStream<[UInt8]>.Continuation

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init() throws {
        loop = try LoopThread()
        (packets, inbox) = AsyncStream.makeStream()
    }

    func bind() throws -> PeerAddress {
        let inbox = inbox
        let fresh = try UDPSocket(loop: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { datagram in
            inbox.yield([UInt8](datagram.bytes))
        }
        let bound = try fresh.localAddress()
        socket = consume fresh
        return PeerAddress(host: bound.host, port: bound.port)
    }

    func send(_ bytes: [UInt8], to address: PeerAddress) throws {
        try socket?.send(bytes, to: SocketAddress(host: address.host, port: address.port))
    }

    func stop() async {
        socket = nil
        await loop.shutDown()
    }
}

@Suite(.serialized) struct `Datagrams between nodes` {
    @Test(arguments: ["127.0.0.1", "::1"]) func `arrive with their sender`(_ host: String) async throws {
        try await withPair(host: host) { left, right in
            try await left.links.sendDatagram([1, 2, 3], to: right.address)
            let first = try #require(await right.links.datagrams.first { _ in true })
            #expect(first.bytes == [1, 2, 3] && first.source == left.address && first.sender == left.links.peerID)
            // The answer is bound to the node that was heard.
            try await right.links.sendDatagram([4], to: first.source)
            let answer = try #require(await left.links.datagrams.first { _ in true })
            #expect(answer.bytes == [4] && answer.sender == right.links.peerID)
            #expect(await left.links.counters().datagramDrops.isEmpty)
        }
    }

    @Test(arguments: [true, false])
    func `another key or cluster name never gets through and is logged once`(_ sameKey: Bool) async throws {
        let key = try ClusterKey.generate()
        let left = try await TestNode.start(keys: ClusterKeyRing(primary: key))
        let right = try await TestNode.start(
            keys: ClusterKeyRing(primary: sameKey ? key : try .generate()), clusterName: sameKey ? "other" : "test")
        for _ in 0..<20 { try await left.links.sendDatagram([1], to: right.address) }
        await eventually("all rejected") { await right.links.counters().dropped(.foreign) == 20 }
        for _ in 0..<3 {
            await #expect {
                _ = try await left.links.open("echo", to: right.address, expecting: nil)
            } throws: {
                "\($0)".contains("same cluster key")
            }
        }
        #expect(await right.links.counters().datagramsIn == 0)
        #expect(await right.links.counters().handshakesFailed == 3)
        // One line for the datagrams and one for the connections.
        #expect(right.log.count(containing: "warning") == 2)
        await left.stop()
        await right.stop()
    }

    @Test func `a replay, a damaged copy and a packet bound to another node are dropped`() async throws {
        let keys = ClusterKeyRing(primary: try .generate())
        let left = try await TestNode.start(keys: keys)
        let right = try await TestNode.start(keys: keys)
        let tap = try RawSocket()
        let tapped = try await tap.bind()
        try await left.links.sendDatagram([9, 9], to: tapped)
        let packet = try #require(await tap.packets.first { _ in true })
        for _ in 0..<5 { try await tap.send(packet, to: right.address) }
        await eventually("replays dropped") { await right.links.counters().dropped(.replayed) == 4 }
        #expect(await right.links.counters().datagramsIn == 1)
        for index in packet.indices {
            var damaged = packet
            damaged[index] ^= 0x10
            try await tap.send(damaged, to: right.address)
            try await tap.send(Array(packet[..<index]), to: right.address)
            // Two by two, so that the kernel loses none.
            await eventually("damage noticed") {
                await right.links.counters().datagramDrops.values.reduce(0, +) == UInt64(index + 1) * 2 + 4
            }
        }
        #expect(await right.links.counters().datagramsIn == 1)
        await tap.stop()
        await left.stop()
        await right.stop()
    }

    @Test func `a member that is silent for long gets small packets, and a stranger a full one`() async throws {
        let node = try await TestNode.start(keys: ClusterKeyRing(primary: try .generate()))
        let (tap, other) = (try RawSocket(), try RawSocket())
        let (silent, stranger) = (try await tap.bind(), try await other.bind())
        await node.links.know(PeerID(rawValue: 7), bootID: 1, at: silent)
        for _ in 0...HeardPeers.unansweredMax { try await node.links.sendDatagram([1], to: silent) }
        var sizes: [Int] = []
        for await packet in tap.packets {
            sizes.append(packet.count)
            if sizes.count > HeardPeers.unansweredMax { break }
        }
        #expect(Set(sizes.dropLast()) == [1 + DatagramSeal.overhead] && sizes.last == WireLimits.silentPacketBytes)
        try await node.links.sendDatagram([1], to: stranger)
        #expect(await other.packets.first { _ in true }?.count == 1_200)
        for socket in [tap, other] { await socket.stop() }
        await node.stop()
    }

    @Test func `a full inbox drops the oldest and counts them`() async throws {
        try await withPair { left, right in
            let extra = 50
            for number in 0..<WireLimits.inboxDatagramsMax + extra {
                try await left.links.sendDatagram([UInt8(number >> 8), UInt8(number & 255)], to: right.address)
                // One by one, so that the kernel loses none.
                await eventually("arrived") { await right.links.counters().datagramsIn == UInt64(number + 1) }
            }
            #expect(await right.links.counters().dropped(.overflow) == UInt64(extra))
            let oldest = try #require(await right.links.datagrams.first { _ in true })
            #expect(oldest.bytes == [0, UInt8(extra)])
        }
    }

    @Test func `keys are replaced one node at a time`() async throws {
        let keys = try (old: ClusterKey.generate(), new: ClusterKey.generate())
        let left = try await TestNode.start(keys: ClusterKeyRing(primary: keys.old, others: [keys.new]))
        let right = try await TestNode.start(keys: ClusterKeyRing(primary: keys.new, others: [keys.old]))
        for (from, to) in [(left, right), (right, left)] {
            try await from.links.sendDatagram([1], to: to.address)
            #expect(await to.links.datagrams.first { _ in true }?.bytes == [1])
            let stream = try await from.links.open("echo", to: to.address, expecting: nil)
            try await stream.send([3])
            #expect(try await stream.receive() == [3])
        }
        await left.stop()
        await right.stop()
    }

    @Test func `a datagram beyond the bound is refused`() async throws {
        try await withPair { left, right in
            await #expect(throws: WireError.datagramTooLong(bytes: 8_901, bytesMax: 8_900)) {
                try await left.links.sendDatagram([UInt8](repeating: 0, count: 8_901), to: right.address)
            }
            let longest = [UInt8](repeating: 7, count: 8_900)
            try await left.links.sendDatagram(longest, to: right.address)
            #expect(await right.links.datagrams.first { _ in true }?.bytes == longest)
            #expect(PeerLinks.datagramBytes(inPacketOf: 1_200) == 1_156)
        }
    }

    @Test func `a port in use is named`() async throws {
        let node = try await TestNode.start(keys: try .withoutKey())
        let configuration = PeerLinkConfiguration(
            bind: node.address, identity: try .generate(), bootID: 1, keys: try .withoutKey())
        let second = try PeerLinks(configuration: configuration, logger: .init(label: "test"))
        await #expect {
            _ = try await second.start()
        } throws: {
            "\($0)".contains("\(node.address)") && "\($0)".contains("--bind")
        }
        await second.stop()
        let seed = try #require(SeedName("127.0.0.1:80"))
        #expect(try await node.links.resolve(seed) == [PeerAddress(host: "127.0.0.1", port: 80)])
        await node.stop()
    }
}
