import ClusterModel
import Sodium
import Synchronization
import Testing

@testable import Wire

/// Boot ids that change while nodes run: a node takes its place back from a copy of itself.
@Suite(.serialized) struct BootTests {
    private static let later = BootID.make(unixSeconds: 2_000)

    /// The boot id of the link that streams to a peer use.
    private static func boot(of peer: PeerID, at node: TestNode) async -> UInt64? {
        await node.links.linkBoot(of: peer)
    }

    @Test func `a higher boot id ends the links of the one before at both ends, and new ones have it`() async throws {
        try await withPair { left, right in
            let peer = left.links.peerID
            let stream = try await left.links.open("echo", to: right.address, expecting: nil)
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            let before = try #require(await Self.boot(of: peer, at: right))
            await left.links.takeBootID(before)
            #expect(await left.links.counters().linksBroken == 0, "it has to be higher")

            await left.links.takeBootID(Self.later)
            await #expect(throws: WireError.self) { _ = try await stream.receive() }
            await eventually("the other end is closed") { await Self.boot(of: peer, at: right) == nil }
            let again = try await left.links.open("echo", to: right.address, expecting: nil)
            try await again.send([2])
            #expect(try await again.receive() == [2])
            #expect(await Self.boot(of: peer, at: right) == Self.later)
        }
    }

    @Test func `datagrams are sealed under the new boot id, and what is bound to it opens`() async throws {
        try await withPair { left, right in
            try await left.links.sendDatagram([1], to: right.address)
            let first = try #require(await right.links.datagrams.first { _ in true })
            await left.links.takeBootID(Self.later)
            try await left.links.sendDatagram([2], to: right.address)
            let second = try #require(await right.links.datagrams.first { _ in true })
            #expect(first.senderBootID < Self.later && second.senderBootID == Self.later)
            try await right.links.sendDatagram([3], to: second.source)
            #expect(await left.links.datagrams.first { _ in true }?.bytes == [3])
            #expect(await left.links.counters().datagramDrops.isEmpty)
        }
    }

    @Test func `links to an earlier boot end with the word of a later one, and get no new streams`() async throws {
        let keys = ClusterKeyRing(primary: try .generate())
        let identity = try NodeIdentity.generate()
        let member = try await TestNode.start(keys: keys)
        let original = try await TestNode.start(keys: keys, identity: identity)
        let copy = try await TestNode.start(keys: keys, identity: identity) { $0.bootID = Self.later }
        let peer = original.links.peerID
        let stream = try await member.links.open("mute", to: original.address, expecting: peer)
        await member.links.know(peer, bootID: Self.later, at: copy.address)
        await #expect(throws: WireError.self) { _ = try await stream.receive() }

        // The original may still ask; whoever wants its node gets the later one.
        let question = try await original.links.open("echo", to: member.address, expecting: nil)
        try await question.send([1])
        #expect(try await question.receive() == [1])
        #expect(await Self.boot(of: peer, at: member) == nil)
        let work = try await member.links.open("echo", to: copy.address, expecting: peer)
        try await work.send([2])
        #expect(try await work.receive() == [2])
        #expect(await Self.boot(of: peer, at: member) == Self.later)
        for node in [member, original, copy] { await node.stop() }
    }

    @Test func `a node of an earlier boot is heard once a second, so that it can be told`() async throws {
        let keys = ClusterKeyRing(primary: try .generate())
        let identity = try NodeIdentity.generate()
        let receiver = try await TestNode.start(keys: keys)
        let heard = Mutex<[ReceivedDatagram]>([])
        await receiver.links.setDatagramHandler { datagram in heard.withLock { $0.append(datagram) } }
        let original = try await TestNode.start(keys: keys, identity: identity)
        let copy = try await TestNode.start(keys: keys, identity: identity) { $0.bootID = Self.later }
        try await copy.links.sendDatagram([1], to: receiver.address)
        await eventually("the later boot is heard") { heard.withLock { $0.count } == 1 }
        for _ in 0..<3 { try await original.links.sendDatagram([2], to: receiver.address) }
        await eventually("counted") { await receiver.links.counters().dropped(.staleBoot) == 3 }
        let second = try #require(heard.withLock { $0.count == 2 ? $0.last : nil })
        #expect(second.source == original.address && second.senderBootID < Self.later)
        try await receiver.links.sendDatagram([3], to: second.source)
        #expect(await original.links.datagrams.first { _ in true }?.bytes == [3])
        for node in [receiver, original, copy] { await node.stop() }
    }

    @Test func `a datagram of an earlier boot takes no address from anybody`() {
        var heard = HeardPeers()
        let now = ContinuousClock.now
        let (address, unknown) = (PeerAddress(host: "10.0.0.9", port: 1), PeerAddress(host: "10.0.0.8", port: 1))
        let (later, earlier) = (DatagramSeal.Receiver(node: 4, bootID: 2), DatagramSeal.Receiver(node: 4, bootID: 1))
        let other = DatagramSeal.Receiver(node: 5, bootID: 1)
        for resident in [later, other] {
            heard.heard(resident, at: address, bytes: 80, isBound: true, now: now)
            let mayAnswer = heard.heardStale(earlier, at: address, bytes: 80, now: now)
            #expect(!mayAnswer)
            #expect(heard.permit(1_000, to: address, now: now) == .bound(resident))
        }
        let mayAnswer = heard.heardStale(earlier, at: unknown, bytes: 80, now: now)
        #expect(mayAnswer)
        #expect(heard.permit(81, to: unknown, now: now) == .withheld)
        #expect(heard.permit(80, to: unknown, now: now) == .bound(earlier))
    }
}

extension PeerLinks {
    fileprivate func linkBoot(of peer: PeerID) -> UInt64? { linkOfPeer[peer].flatMap { links[$0]?.bootID } }
}
