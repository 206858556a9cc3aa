import ClusterModel
import Sodium
import Testing
import Wire

@Suite(.serialized) struct `Links under load` {
    @Test(arguments: [true, false], RecordAlgorithm.available)
    func `bulk arrives whole in both directions at once`(_ threads: Bool, _ cipher: RecordAlgorithm) async throws {
        try await withPair {
            $0.usesCipherThreads = threads
            $0.ciphers = [cipher]
        } _: { left, right in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<6 {
                    group.addTask {
                        let priority = StreamPriority.allCases[number % 3]
                        let stream =
                            number % 2 == 0
                            ? try await left.links.open(
                                "echo", to: right.address, expecting: nil, priority: priority)
                            : try await right.links.open("echo", to: left.address, expecting: nil, priority: priority)
                        for round in 0..<8 {
                            let message = RandomBytes.make((1 << 20) >> (round % 5))
                            try await stream.send(message)
                            #expect(try await stream.receive() == message)
                        }
                        await stream.finish()
                    }
                }
                try await group.waitForAll()
            }
            let reports = await left.links.linkReports()
            #expect(reports.allSatisfy { $0.cipher == cipher.description })
            let echoed = reports.flatMap(\.sentByPriority.values).reduce(0, +)
            let each = UInt64((0..<8).reduce(0) { $0 + ((1 << 20) >> ($1 % 5)) })
            #expect(echoed == each * 6)
            let counters = await left.links.counters()
            #expect(counters.recordsOut > 0 && counters.recordsIn > 0 && counters.linksBroken == 0)
        }
    }

    @Test func `a rate limit holds content back and nothing else`() async throws {
        try await withPair {
            $0.bulkRateMax = 4 << 20
        } _: { left, right in
            let bulk = try await left.links.open("sink", to: right.address, expecting: nil, priority: .pull)
            let start = ContinuousClock.now
            async let sent: [UInt8]? = {
                for _ in 0..<4 { try await bulk.send([UInt8](repeating: 1, count: 512 << 10)) }
                await bulk.finish()
                return try await bulk.receive()
            }()
            let free = try await left.links.open("echo", to: right.address, expecting: nil)
            for _ in 0..<16 {
                try await free.send([UInt8](repeating: 2, count: 512 << 10))
                #expect(try await free.receive()?.count == 512 << 10)
            }
            #expect(try await sent == Array("\(2 << 20)".utf8))
            // 2 MiB at 4 MiB/s without the burst of 50 ms: the clock can only be slower.
            #expect(ContinuousClock.now - start > .milliseconds(400))
            #expect(await left.links.counters().rateLimited > 0)
        }
    }

    @Test func `content beyond the cap waits for its turn`() async throws {
        try await withPair {
            $0.servedBulkMax = 2
        } _: { left, right in
            var streams: [any PeerStream] = []
            for _ in 0..<5 {
                streams.append(
                    try await left.links.open("echo", to: right.address, expecting: nil, priority: .prefetch))
            }
            let blocking = try await left.links.open("echo", to: right.address, expecting: nil, priority: .pull)
            let control = try await left.links.open("echo", to: right.address, expecting: nil)
            try await control.send([9])
            #expect(try await control.receive() == [9])
            #expect(await right.links.counters().servesDelayed == 4)
            // Once one is through, the blocking one is served before the other prefetches.
            let finished = ServedOrder()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, stream) in (streams + [blocking]).enumerated() where index >= 2 {
                    group.addTask {
                        try await stream.send([1])
                        #expect(try await stream.receive() == [1])
                        await finished.append(index)
                        await stream.finish()
                        #expect(try await stream.receive() == nil)
                    }
                }
                await streams[0].finish()
                try await group.waitForAll()
            }
            #expect(await finished.order.first == 5)
            await streams[1].finish()
        }
    }

    @Test func `who waits for its turn is told so until it is served`() async throws {
        var times = LinkTimes()
        times.waitingPulse = .milliseconds(10)
        try await withPair(times: times) {
            $0.servedBulkMax = 1
        } _: { left, right in
            await right.links.setWaitingMessage { $0 == "echo" ? [7] : nil }
            let first = try await left.links.open("echo", to: right.address, expecting: nil, priority: .prefetch)
            try await first.send([1])
            #expect(try await first.receive() == [1])
            let silent = try await left.links.open("sink", to: right.address, expecting: nil, priority: .prefetch)
            let queued = try await left.links.open("echo", to: right.address, expecting: nil, priority: .pull)
            for _ in 0..<3 { #expect(try await queued.receive() == [7]) }
            await first.finish()
            #expect(try await first.receive() == nil)
            // Nothing is said once it is served, and nothing where the service has no word for it.
            try await queued.send([2])
            var message = try await queued.receive()
            while message == [7] { message = try await queued.receive() }
            #expect(message == [2])
            await queued.finish()
            #expect(try await queued.receive() == nil)
            await silent.finish()
            #expect(try await silent.receive() == Array("0".utf8))
        }
    }

    @Test func `connections that say nothing keep nobody out for long`() async throws {
        var times = LinkTimes()
        times.handshake = .seconds(60)
        try await withPair(times: times) { left, right in
            var clients: [RawClient] = []
            for _ in 0..<WireLimits.pendingHandshakesMax {
                let client = try RawClient()
                try await client.say([80], to: right.address)
                clients.append(client)
            }
            await eventually("a good node gets through") {
                guard let stream = try? await left.links.open("echo", to: right.address, expecting: nil) else {
                    return false
                }
                try? await stream.send([1])
                return (try? await stream.receive()) == [1]
            }
            let counters = await right.links.counters()
            #expect(counters.handshakesTimedOut >= 1)
            #expect(counters.handshakesFailed == counters.handshakesTimedOut)
            for client in clients { await client.stop() }
        }
    }

    @Test func `a key that is retired takes its links with it`() async throws {
        let (old, new) = (try ClusterKey.generate(), try ClusterKey.generate())
        let left = try await TestNode.start(keys: ClusterKeyRing(primary: old))
        let right = try await TestNode.start(keys: ClusterKeyRing(primary: new, others: [old]))
        let stream = try await left.links.open("echo", to: right.address, expecting: nil)
        try await stream.send([1])
        #expect(try await stream.receive() == [1])
        await right.links.closeLinks(exceptUnder: [old.id, new.id])
        #expect(await right.links.counters().links == 1)
        await right.links.closeLinks(exceptUnder: [new.id])
        await #expect(throws: WireError.self) { _ = try await stream.receive() }
        #expect(await right.links.counters().linksBroken == 1)
        await left.stop()
        await right.stop()
    }

    @Test func `a damaged record and a wrong key are counted as what they are`() async throws {
        var times = LinkTimes()
        times.ping = .milliseconds(50)
        times.silence = .seconds(3)
        try await withPair(times: times) { left, right in
            let relay = try Relay(to: right.address)
            let stream = try await left.links.open("echo", to: try await relay.start(), expecting: nil)
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            await relay.damageNext()
            // A ping may have gone before it, and the link be over already.
            try? await stream.send([2])
            await #expect(throws: WireError.self) { _ = try await stream.receive() }
            await eventually("counted") { await right.links.counters().linksDamaged == 1 }
            await relay.stop()
            let stranger = try await TestNode.start(keys: ClusterKeyRing(primary: try .generate()))
            await #expect(throws: WireError.self) {
                _ = try await stranger.links.open("echo", to: right.address, expecting: nil)
            }
            #expect(await right.links.counters().handshakesWithWrongKey == 1)
            await stranger.stop()
        }
    }
}

/// Which streams were answered, in order.
actor ServedOrder {
    private(set) var order: [Int] = []
    func append(_ index: Int) { order.append(index) }
}
