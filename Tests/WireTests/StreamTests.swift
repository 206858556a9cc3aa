import ClusterModel
import Sodium
import Testing
import Wire

@Suite(.serialized) struct `Streams between nodes` {
    @Test(arguments: ["127.0.0.1", "::1"]) func `messages come back`(_ host: String) async throws {
        try await withPair(host: host) { left, right in
            let stream = try await left.links.open("echo", to: right.address, expecting: right.links.peerID)
            let messages: [[UInt8]] = [
                [], [1], RandomBytes.make(70_000), RandomBytes.make(PeerStreamLimits.messageBytesMax),
            ]
            for message in messages {
                try await stream.send(message)
                #expect(try await stream.receive() == message)
            }
            await stream.finish()
            #expect(try await stream.receive() == nil)
            let counters = await left.links.counters()
            let bytes = UInt64(messages.reduce(0) { $0 + $1.count })
            #expect(
                counters.services["echo"]
                    == .init(bytesIn: bytes, bytesOut: bytes, streamsOpened: 1, streamsAccepted: 0))
        }
    }

    @Test func `small requests keep answering beside 64 MiB of bulk`() async throws {
        try await withPair { left, right in
            let bulk = try await left.links.open("sink", to: right.address, expecting: nil)
            let small = try await left.links.open("echo", to: right.address, expecting: nil)
            async let sent: [UInt8]? = {
                let message = RandomBytes.make(1 << 20)
                for _ in 0..<64 { try await bulk.send(message) }
                await bulk.finish()
                return try await bulk.receive()
            }()
            var answers = 0
            var slowest = Duration.zero
            while await right.links.counters().services["sink"]?.bytesIn ?? 0 < 60 << 20 {
                let start = ContinuousClock.now
                try await small.send([7])
                #expect(try await small.receive() == [7])
                slowest = max(slowest, ContinuousClock.now - start)
                answers += 1
            }
            #expect(try await sent == Array("\(64 << 20)".utf8))
            #expect(answers >= 10, "\(answers) answers, the slowest took \(slowest)")
            #expect(await left.links.counters().links == 1)
        }
    }

    @Test func `a sender waits for its reader`() async throws {
        try await withPair { left, right in
            let stream = try await left.links.open("mute", to: right.address, expecting: nil)
            let sent = SendProgress()
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    for _ in 0..<64 {
                        guard (try? await stream.send([UInt8](repeating: 1, count: 1 << 20))) != nil else { return }
                        await sent.advance()
                    }
                }
                // The peer takes one message and then waits: its window fills, and no more goes out.
                await eventually("one is on its way") { await sent.count >= 1 }
                let end = ContinuousClock.now + .milliseconds(400)
                await eventually("a moment has passed") { ContinuousClock.now > end }
                group.cancelAll()
            }
            #expect(await (1..<8).contains(sent.count))
        }
    }

    @Test func `a cut link throws on both sides`() async throws {
        try await withPair { left, right in
            let stream = try await left.links.open("mute", to: right.address, expecting: nil)
            try await stream.send([1])
            let answer = Task { try await stream.receive() }
            await eventually("stream accepted") { await right.links.counters().openStreams == 1 }
            await right.links.stop()
            await #expect(throws: WireError.self) { _ = try await answer.value }
            await #expect(throws: WireError.self) { try await stream.send([2]) }
            #expect(await left.links.counters().linksBroken == 1)
        }
    }

    @Test func `a thousand streams leave nothing behind`() async throws {
        try await withPair { left, right in
            _ = try await left.links.open("echo", to: right.address, expecting: nil)
            let handles = (left.links.handleCount, right.links.handleCount)
            for round in 0..<20 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<50 {
                        group.addTask {
                            let stream = try await left.links.open("echo", to: right.address, expecting: nil)
                            let message = Array("\(round) \(number)".utf8)
                            try await stream.send(message)
                            #expect(try await stream.receive() == message)
                            await stream.finish()
                            #expect(try await stream.receive() == nil)
                        }
                    }
                    try await group.waitForAll()
                }
            }
            await eventually("streams forgotten") {
                let here = await left.links.counters().openStreams
                let there = await right.links.counters().openStreams
                return here == 0 && there == 0
            }
            #expect((left.links.handleCount, right.links.handleCount) == handles)
            #expect(await left.links.counters().links == 1)
        }
    }

    @Test func `more streams than the bound are refused`() async throws {
        try await withPair { left, right in
            var streams: [any PeerStream] = []
            for _ in 0..<WireLimits.streamsMax {
                streams.append(try await left.links.open("mute", to: right.address, expecting: nil))
            }
            await #expect(throws: WireError.tooManyStreams(peer: right.links.peerID, streamsMax: WireLimits.streamsMax))
            {
                _ = try await left.links.open("mute", to: right.address, expecting: nil)
            }
            streams.removeLast()
            await eventually("room again") {
                (try? await left.links.open("mute", to: right.address, expecting: nil)) != nil
            }
        }
    }

    @Test func `a handler's reset, an unknown peer and a closed port say what they are`() async throws {
        try await withPair { left, right in
            let stream = try await left.links.open("unknown", to: right.address, expecting: nil)
            await #expect(throws: WireError.streamReset(service: "unknown", peer: right.links.peerID)) {
                _ = try await stream.receive()
            }
            let stranger = PeerID(rawValue: 1)
            await #expect(
                throws: WireError.unexpectedPeer(address: right.address, expected: stranger, found: right.links.peerID)
            ) { _ = try await left.links.open("echo", to: right.address, expecting: stranger) }
            await #expect(throws: WireError.self) {
                _ = try await left.links.open("echo", to: left.address, expecting: nil)
            }
            await right.links.stop()
            await eventually("the end is noticed") { await left.links.counters().links == 0 }
            await #expect {
                _ = try await left.links.open("echo", to: right.address, expecting: nil)
            } throws: {
                "\($0)".contains("ECONNREFUSED")
            }
        }
    }

    @Test func `cancellation ends a wait`() async throws {
        try await withPair { left, right in
            let stream = try await left.links.open("mute", to: right.address, expecting: nil)
            await withTaskGroup(of: Bool.self) { group in
                group.addTask {
                    do {
                        _ = try await stream.receive()
                        return false
                    } catch {
                        return error is CancellationError
                    }
                }
                group.cancelAll()
                for await wasCancelled in group { #expect(wasCancelled) }
            }
        }
    }

    @Test func `both dial at once and all streams work`() async throws {
        try await withPair { left, right in
            for _ in 0..<5 {
                async let one = left.links.open("echo", to: right.address, expecting: right.links.peerID)
                async let two = right.links.open("echo", to: left.address, expecting: left.links.peerID)
                for stream in [try await one, try await two] {
                    try await stream.send([1, 2, 3])
                    #expect(try await stream.receive() == [1, 2, 3])
                }
            }
            #expect(await left.links.counters().linksBroken == 0)
        }
    }

    @Test func `an idle link is closed on both sides and dialed again when needed`() async throws {
        var times = LinkTimes()
        times.idle = .milliseconds(100)
        try await withPair(times: times) { left, right in
            do {
                let stream = try await left.links.open("echo", to: right.address, expecting: nil)
                try await stream.send([1])
                _ = try await stream.receive()
                stream.reset()
            }
            await eventually("link closed") {
                let here = await left.links.counters().links
                let there = await right.links.counters().links
                return here == 0 && there == 0
            }
            #expect(await left.links.counters().linksBroken == 0)
            let stream = try await left.links.open("echo", to: right.address, expecting: nil)
            try await stream.send([2])
            #expect(try await stream.receive() == [2])
        }
    }

    @Test func `pings keep a quiet stream's link alive`() async throws {
        var times = LinkTimes()
        times.ping = .milliseconds(50)
        times.silence = .seconds(2)
        try await withPair(times: times) { left, right in
            let stream = try await left.links.open("echo", to: right.address, expecting: nil)
            let end = ContinuousClock.now + .seconds(3)
            await eventually("three seconds have passed") { ContinuousClock.now > end }
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            #expect(await left.links.counters().handshakesCompleted == 1)
        }
    }

    @Test func `a restarted peer is reached on a new link`() async throws {
        let keys = ClusterKeyRing(primary: try .generate())
        let identity = try NodeIdentity.generate()
        let left = try await TestNode.start(keys: keys)
        for _ in 0..<3 {
            let right = try await TestNode.start(keys: keys, identity: identity)
            let stream = try await left.links.open("echo", to: right.address, expecting: right.links.peerID)
            try await stream.send([5])
            #expect(try await stream.receive() == [5])
            await right.stop()
            await eventually("link gone") { await left.links.counters().links == 0 }
        }
        await left.stop()
    }
}

/// How far a sender came.
actor SendProgress {
    private(set) var count = 0
    func advance() { count += 1 }
}
