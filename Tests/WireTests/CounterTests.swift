import ClusterKeys
import ClusterModel
import Sodium
import Testing

@testable import Wire

extension PeerLinks {
    /// Sends what `send` refuses to, as a hostile holder of the key would.
    fileprivate func sendUnchecked(_ message: [UInt8]) {
        for entry in streams.values {
            _ = entry.link.machine.streams.send(message, on: entry.id)
            pump(entry.link)
        }
    }
}

/// What goes wrong is counted by its cause and logged once a minute.
@Suite struct CounterTests {
    @Test func `a node that runs a copy of this node's root is counted and named`() async throws {
        let keys = ClusterKeyRing(primary: try .generate())
        let identity = try NodeIdentity.generate()
        let original = try await TestNode.start(keys: keys, identity: identity)
        let clone = try await TestNode.start(keys: keys, identity: identity)
        for _ in 0..<3 { try await clone.links.sendDatagram([1], to: original.address) }
        await eventually("counted") { await original.links.counters().dropped(.cloned) == 3 }
        #expect(await original.links.counters().datagramsIn == 0)
        #expect(original.log.count(containing: "root directory was copied") == 1)
        await clone.stop()
        await original.stop()
    }

    @Test func `packets from before their sender's restart are counted`() async throws {
        let keys = ClusterKeyRing(primary: try .generate())
        let identity = try NodeIdentity.generate()
        let receiver = try await TestNode.start(keys: keys)
        let later = try await TestNode.start(keys: keys, identity: identity) {
            $0.bootID = BootID.make(unixSeconds: 2_000)
        }
        let earlier = try await TestNode.start(keys: keys, identity: identity)
        try await later.links.sendDatagram([1], to: receiver.address)
        await eventually("the newer boot is heard") { await receiver.links.counters().datagramsIn == 1 }
        for _ in 0..<2 { try await earlier.links.sendDatagram([2], to: receiver.address) }
        await eventually("counted") { await receiver.links.counters().dropped(.staleBoot) == 2 }
        #expect(receiver.log.count(containing: "before their sender's restart") == 1)
        for node in [receiver, later, earlier] { await node.stop() }
    }

    @Test func `a page that is longer than any message ends the link and is counted`() async throws {
        try await withPair { left, right in
            let stream = try await left.links.open("echo", to: right.address, expecting: nil)
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            await left.links.sendUnchecked([UInt8](repeating: 0, count: PeerStreamLimits.messageBytesMax + 1))
            await eventually("counted") { await right.links.counters().linksViolated == 1 }
            #expect(right.log.count(containing: "message longer than") == 1)
            await #expect(throws: WireError.self) { _ = try await stream.receive() }
        }
    }

    @Test func `datagrams are counted with the bytes of their packets, also those that the kernel does not take`()
        async throws
    {
        try await withPair { left, right in
            try await left.links.sendDatagram([1, 2, 3], to: right.address)
            await eventually("it is there") { await right.links.counters().datagramsIn == 1 }
            // First words are padded; what answers them is bound.
            try await right.links.sendDatagram([4], to: left.address)
            await eventually("the answer is there") { await left.links.counters().datagramsIn == 1 }
            let (near, far) = (await left.links.counters(), await right.links.counters())
            #expect(near.datagramsOut == 1 && near.datagramBytesOut == 1_200 && near.datagramBytesIn == 45)
            #expect(far.datagramsOut == 1 && far.datagramBytesOut == 45 && far.datagramBytesIn == 1_200)
            let isTaken = try await left.links.sendDatagram([1], to: PeerAddress(host: "nobody", port: 1))
            #expect(!isTaken)
            let after = await left.links.counters()
            #expect(after.datagramsUnsent == 1 && after.datagramsOut == 1)
        }
    }

    @Test func `who has not proved its address gets as many bytes as it sent, the envelope's included`() async throws {
        try await withPair { left, right in
            try await left.links.sendDatagram([1], to: right.address)
            await eventually("it is there") { await right.links.counters().datagramsIn == 1 }
            let room = PeerLinks.datagramBytes(inPacketOf: 1_200)
            try await right.links.sendDatagram([UInt8](repeating: 1, count: room + 1), to: left.address)
            #expect(await right.links.counters().dropped(.unvalidated) == 1)
            #expect(await right.links.counters().datagramsOut == 0)
            try await right.links.sendDatagram([UInt8](repeating: 1, count: room), to: left.address)
            try await right.links.sendDatagram([1], to: left.address)
            #expect(await right.links.counters().dropped(.unvalidated) == 2)
            await eventually("what was allowed is there") { await left.links.counters().datagramsIn == 1 }
            // An answer to a bound packet proves it.
            try await left.links.sendDatagram([2], to: right.address)
            await eventually("proved") { await right.links.counters().datagramsIn == 2 }
            try await right.links.sendDatagram([UInt8](repeating: 1, count: 4_000), to: left.address)
            await eventually("as much as it likes") { await left.links.counters().datagramsIn == 2 }
            #expect(await right.links.counters().dropped(.unvalidated) == 2)
        }
    }

    @Test func `packets under a key in its grace are taken, counted, and say which key their sender has`() async throws
    {
        let (old, new) = (try ClusterKey.generate(), try ClusterKey.generate())
        var ring = ClusterKeyRing(primary: new, others: [old])
        try ring.remove(old.fingerprint, graceSeconds: 3_600, now: PeerLinks.unixSeconds)
        let left = try await TestNode.start(keys: ClusterKeyRing(primary: old))
        let right = try await TestNode.start(keys: ring)
        for _ in 0..<3 { try await left.links.sendDatagram([1], to: right.address) }
        await eventually("taken") { await right.links.counters().datagramsIn == 3 }
        #expect(await right.links.counters().datagramsUnderRetiredKey == 3)
        let notice = await right.links.otherKeys.first { _ in true }
        #expect(notice == OtherKey(peer: left.links.peerID, address: left.address))
        await left.stop()
        await right.stop()
    }

    @Test func `who seals with another key is told once a peer and two seconds`() async throws {
        let node = try await TestNode.start(keys: ClusterKeyRing(primary: ClusterKey.generate()))
        let key = try ClusterKey.generate().fingerprint
        for peer: UInt64 in [1, 1, 2] {
            await node.links.heardOtherKey(
                key, of: PeerID(rawValue: peer), at: PeerAddress(host: "127.0.0.1", port: UInt16(peer)))
        }
        var told: [UInt64] = []
        for await notice in node.links.otherKeys {
            told.append(notice.peer.rawValue)
            if told.count == 2 { break }
        }
        #expect(told == [1, 2])
        await node.stop()
    }

    @Test func `a cause is logged once a minute, with how many went unsaid`() {
        var log = CauseLog<Int>()
        let start = ContinuousClock.now
        var lines: [UInt64?] = []
        for second in [0, 1, 59, 60, 61] { lines.append(log.due(7, at: start + .seconds(second))) }
        #expect(lines == [0, nil, nil, 2, nil])
        let other = log.due(8, at: start + .seconds(61))
        #expect(other == 0)
    }
}
