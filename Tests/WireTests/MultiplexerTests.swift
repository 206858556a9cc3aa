import ClusterModel
import Testing

@testable import Wire

@Suite struct `The streams of a link` {
    /// Streams of data frames in a record, in order.
    private static func order(_ text: [UInt8]) throws -> [UInt32] {
        try text.withUnsafeBytes { bytes in
            var reader = FrameReader(bytes)
            var order: [UInt32] = []
            while let frame = try reader.next() {
                if frame.type == .data || frame.type == .dataEnd { order.append(frame.stream) }
            }
            return order
        }
    }

    @Test func `what is urgent goes first, equals take turns, and nobody waits for ever`() throws {
        var streams = StreamMultiplexer(isDialer: true)
        let prefetch = try streams.open(service: "p", priority: .prefetch)
        let pulls = try (0..<2).map { _ in try streams.open(service: "b", priority: .pull) }
        let control = try streams.open(service: "c")
        for id in [prefetch] + pulls + [control] {
            for _ in 0..<2 {
                let isSent = streams.send([UInt8](repeating: 0, count: 1 << 20), on: id)
                #expect(isSent)
            }
        }
        var order: [UInt32] = []
        while true {
            let text = streams.fill()
            if text.isEmpty { break }
            order += try Self.order(text)
        }
        let firstPull = try #require(order.firstIndex { pulls.contains($0) })
        #expect(order[..<16].allSatisfy { $0 == control })
        #expect(order.count { $0 == prefetch } == 32 || order.count { $0 == prefetch } == 31)
        // One of seventeen frames goes to the least urgent, so it is there before the others are done.
        let firstPrefetch = try #require(order.firstIndex(of: prefetch))
        #expect(firstPrefetch == TurnQueues.patience && firstPull > firstPrefetch)
        let turns = order.filter { pulls.contains($0) }
        #expect(zip(turns, turns.dropFirst()).allSatisfy { $0 != $1 })
    }

    @Test func `without allowance only control goes`() throws {
        var streams = StreamMultiplexer(isDialer: true)
        let pull = try streams.open(service: "b", priority: .pull)
        let control = try streams.open(service: "c")
        for id in [pull, control] { _ = streams.send([1, 2, 3], on: id) }
        let first = try Self.order(streams.fill(bulkAllowance: 0))
        #expect(first == [control])
        #expect(streams.isBulkWaiting)
        let second = try Self.order(streams.fill())
        #expect(second == [pull])
        #expect(!streams.isBulkWaiting)
    }

    @Test func `credit beyond the window, unknown streams and unknown priorities end the link`() throws {
        let records: [[UInt8]] = [
            RecordText.of(.credit, stream: 1, data: [0, 0, 0, 1]), RecordText.of(.credit, stream: 1, data: [0, 0, 1]),
            RecordText.of(.dataEnd, stream: 3), RecordText.of(.reset, stream: 9), RecordText.open(3, priority: 3),
            RecordText.open(3, ""), RecordText.open(4), RecordText.open(1),
            RecordText.of(.data, stream: 1, data: [0, 0, 0, 0, 1]),
            RecordText.of(.data, stream: 1, data: [0, 0, 0, 1]),
            RecordText.of(.data, stream: 1, data: [255, 255, 255, 255, 1]),
        ]
        for record in records {
            var streams = StreamMultiplexer(isDialer: false)
            _ = try streams.receive(RecordText.open(1))
            #expect(throws: LinkFault.self, "\(record)") { try streams.receive(record) }
        }
    }

    @Test func `a message keeps to the length that it announced`() throws {
        for (second, isFine) in [
            ([UInt8](repeating: 1, count: 10), true), ([1], false), ([UInt8](repeating: 1, count: 11), false),
        ] {
            var streams = StreamMultiplexer(isDialer: false)
            _ = try streams.receive(RecordText.open(1))
            _ = try streams.receive(RecordText.of(.data, stream: 1, data: [0, 0, 0, 10, 7]))
            let rest = RecordText.of(.dataEnd, stream: 1, data: second)
            if isFine {
                _ = try streams.receive(rest)
                let taken = streams.take(1)
                #expect(taken == .message([7] + second))
            } else {
                #expect(throws: LinkFault.self) { try streams.receive(rest) }
            }
        }
    }

    @Test func `a peer that opens streams without end is reset and then cut off`() throws {
        var streams = StreamMultiplexer(isDialer: false)
        var opened = 0
        var id: UInt32 = 1
        var fault: (any Error)?
        while fault == nil, id < 100_000 {
            do {
                opened += try streams.receive(RecordText.open(id)).count
            } catch {
                fault = error
            }
            id += 2
        }
        #expect(opened == WireLimits.streamsMax * 2)
        #expect(fault is LinkFault)
        #expect(streams.streamCount == WireLimits.streamsMax * 2)
    }

    @Test func `a peer that sends more than a link holds is cut off, however many streams it uses`() throws {
        var streams = StreamMultiplexer(isDialer: false)
        // Each announces a message of nearly 1 MiB and sends one byte of it: memory is counted before it is taken.
        let announced: [UInt8] = [0, 15, 255, 254, 1]
        var fault: (any Error)?
        var id: UInt32 = 1
        while fault == nil, id < 1_000 {
            do {
                _ = try streams.receive(RecordText.open(id))
                _ = try streams.receive(RecordText.of(.data, stream: id, data: announced))
            } catch {
                fault = error
            }
            id += 2
        }
        #expect(streams.held <= WireLimits.linkBufferBytes)
        #expect("\(String(describing: fault))".contains("nobody has read"))
        #expect(streams.streamCount == WireLimits.linkBufferBytes >> 20)
    }

    @Test func `what is held comes back to nothing, however streams end`() throws {
        var streams = StreamMultiplexer(isDialer: false)
        for id in [1, 3, 5, 7] as [UInt32] {
            _ = try streams.receive(RecordText.open(id))
            _ = try streams.receive(RecordText.of(.dataEnd, stream: id, data: [1, 2]))
            _ = try streams.receive(RecordText.of(.data, stream: id, data: [0, 0, 0, 9, 1]))
        }
        #expect(streams.held > 0)
        _ = streams.take(1)
        streams.reset(1)
        _ = try streams.receive(RecordText.of(.reset, stream: 3))
        streams.finish(5)
        streams.abandon(5)
        streams.reset(7)
        #expect(streams.held == 0)
        _ = streams.fail()
        #expect(streams.held == 0)
    }
}

@Suite struct `Limits of serving` {
    @Test func `a bucket passes its rate and no more, with a short burst`() {
        var now = ContinuousClock.now
        var bucket = TokenBucket(rate: 10_000_000, now: now)
        var passed = 0
        for _ in 0..<1_000 {
            let allowance = bucket.allowance(at: now)
            if allowance > 0 {
                bucket.spend(min(allowance, 65_536))
                passed += min(allowance, 65_536)
            }
            now += .milliseconds(1)
        }
        #expect((10_000_000...10_600_000).contains(passed))
        bucket.spend(1_000_000)
        #expect(bucket.pause > .milliseconds(50) && bucket.pause < .milliseconds(200))
    }

    @Test func `content waits for its turn and blocking pulls go first`() {
        var slots = ServingSlots(bulkMax: 2)
        let admitted = [
            slots.admit(1, .prefetch), slots.admit(2, .pull), slots.admit(3, .prefetch), slots.admit(4, .pull),
            slots.admit(5, .control),
        ]
        #expect(admitted == [true, true, false, false, true])
        let next = [slots.released(.control), slots.released(.pull), slots.released(.prefetch), slots.released(.pull)]
        #expect(next == [nil, 4, 3, nil])
        #expect(slots.running == 1)
    }
}
