import ClusterModel
import Testing

@testable import Wire

/// How many streams there are, how they end, and what a link holds: to the last one that is taken.
@Suite struct `The life of streams` {
    private static let cost = 32

    @Test func `the least urgent has one turn after each sixteen, again and again`() {
        var turns = TurnQueues()
        var order: [UInt32] = []
        turns.append(1, .control)
        turns.append(2, .prefetch)
        for _ in 0..<68 {
            guard let (stream, priority) = turns.next(allowsBulk: true) else { return }
            order.append(stream)
            turns.append(stream, priority)
        }
        #expect(order.indices.filter { order[$0] == 2 } == [16, 33, 50, 67])
        // Alone, or without leave, nobody is passed over.
        var alone = TurnQueues()
        alone.append(2, .pull)
        #expect(!alone.isWaiting(allowsBulk: false) && alone.isWaiting(allowsBulk: true))
        let kept = alone.next(allowsBulk: false)
        #expect(kept == nil)
        let given = alone.next(allowsBulk: true)
        #expect(given?.stream == 2)
    }

    @Test func `a side opens 1,024 streams at once, and no more numbers than there are`() throws {
        var streams = StreamMultiplexer(isDialer: true)
        for _ in 0..<1_024 { _ = try streams.open(service: "x") }
        #expect(throws: StreamMultiplexer.OpenFault.self) { try streams.open(service: "x") }
        streams.reset(1)
        #expect(try streams.open(service: "x") == 2_049)
        var old = StreamMultiplexer(isDialer: true)
        old.nextOwn = .max - 4
        #expect(try old.open(service: "x") == .max - 4)
        #expect(throws: StreamMultiplexer.OpenFault.self) { try old.open(service: "x") }
    }

    @Test func `a peer's streams are counted apart from the own`() throws {
        var streams = StreamMultiplexer(isDialer: false)
        for _ in 0..<1_024 { _ = try streams.open(service: "x") }
        var opened = 0
        for number in 0..<2_048 as Range<UInt32> {
            opened += try streams.receive(RecordText.open(number * 2 + 1)).count
        }
        #expect(opened == 2_048)
        // Resets that were sent are owed no more: a peer that waits for them is not cut off.
        var id: UInt32 = 4_097
        for _ in 0..<3 {
            for _ in 0..<4_096 {
                let events = try streams.receive(RecordText.open(id))
                #expect(events.isEmpty)
                id += 2
            }
            #expect(throws: LinkFault.self) {
                var copy = streams
                _ = try copy.receive(RecordText.open(id))
            }
            #expect(try streams.dueFrames().count { $0.type == .reset } == 4_096)
        }
    }

    @Test func `names of services have 1 to 64 bytes, numbers of streams go up`() throws {
        var streams = StreamMultiplexer(isDialer: false)
        let longest = String(repeating: "s", count: 64)
        let events = try streams.receive(RecordText.open(5, longest))
        #expect(events == [.opened(stream: 5, service: longest, priority: .control)])
        for record in [
            RecordText.open(7, longest + "s"), RecordText.open(7, ""), RecordText.open(5), RecordText.open(3),
            RecordText.open(8), RecordText.open(0),
        ] {
            var copy = streams
            #expect(throws: LinkFault.self) { try copy.receive(record) }
        }
    }

    @Test func `frames of streams that nobody opened end the link, those of streams that are gone do not`() throws {
        var streams = try StreamMultiplexer.opened(1, 3)
        let own = try streams.open(service: "x")
        #expect(own == 2)
        for id in [1, 3, 2] as [UInt32] { streams.reset(id) }
        for type in [FrameType.dataEnd, .finish, .reset] {
            for id in [1, 2, 3] as [UInt32] {
                let events = try streams.receive(RecordText.of(type, stream: id))
                #expect(events.isEmpty)
            }
            for id in [0, 4, 5] as [UInt32] {
                var copy = streams
                #expect(throws: LinkFault.self, "\(type) \(id)") { try copy.receive(RecordText.of(type, stream: id)) }
            }
        }
        for id in [0, 4, 5] as [UInt32] {
            var copy = streams
            #expect(throws: LinkFault.self) {
                try copy.receive(RecordText.of(.credit, stream: id, data: [0, 0, 0, 1]))
            }
        }
        #expect(throws: LinkFault.self) { try streams.receive(RecordText.of(.ping, stream: 0, data: [1, 2, 3])) }
    }

    @Test func `nothing comes after a stream's end, which comes after whole messages`() throws {
        let finish = RecordText.of(.finish, stream: 1)
        var streams = try StreamMultiplexer.opened(1)
        _ = try streams.receive(finish)
        for record in [finish, messageText(1)] {
            var copy = streams
            #expect(throws: LinkFault.self) { try copy.receive(record) }
        }
        var inside = try StreamMultiplexer.opened(1)
        _ = try inside.receive(RecordText.of(.data, stream: 1, data: [0, 0, 0, 9, 1]))
        #expect(throws: LinkFault.self) { try inside.receive(finish) }
        let isSent = streams.send([1], on: 1)
        streams.finish(1)
        let isSentLate = streams.send([1], on: 1)
        #expect(isSent && !isSentLate)
        #expect(try streams.dueFrames().map(\.type) == [.dataEnd, .finish])
        streams.reset(1)
        #expect(try streams.dueFrames().isEmpty, "a stream that both have ended is not reset")
        #expect(streams.streamCount == 0)
    }

    @Test func `a stream that is let go sends what it has, takes nothing more, and is reset if its peer goes on`()
        throws
    {
        for isPeerFinished in [true, false] {
            var streams = try StreamMultiplexer.opened(1)
            _ = try streams.receive(messageText(100))
            _ = streams.send([1, 2, 3], on: 1)
            streams.finish(1)
            streams.abandon(1)
            #expect(streams.held == 0)
            let late = try streams.receive(messageText(100))
            #expect(late.isEmpty && streams.held == 0)
            if isPeerFinished { _ = try streams.receive(RecordText.of(.finish, stream: 1)) }
            let types = try streams.dueFrames().map(\.type)
            #expect(types == [.dataEnd, .finish] + (isPeerFinished ? [] : [.reset]))
            #expect(streams.streamCount == 0)
        }
        var unfinished = try StreamMultiplexer.opened(1)
        unfinished.abandon(1)
        #expect(try unfinished.dueFrames().map(\.type) == [.reset])
        var done = try StreamMultiplexer.opened(1)
        done.finish(1)
        _ = try done.dueFrames()
        done.abandon(1)
        #expect(try done.dueFrames().map(\.type) == [.reset], "its peer goes on")
        #expect(done.streamCount == 0)
    }

    @Test func `after a reset what was whole before the peer's end is read, else nothing`() throws {
        let reset = RecordText.of(.reset, stream: 1)
        for isPeerFinished in [true, false] {
            var streams = try StreamMultiplexer.opened(1)
            _ = streams.send([UInt8](repeating: 1, count: 300 << 10), on: 1)
            _ = try streams.receive(messageText(100))
            if isPeerFinished { _ = try streams.receive(RecordText.of(.finish, stream: 1)) }
            let events = try streams.receive(reset)
            #expect(events == [.readable(stream: 1), .writable(stream: 1)])
            #expect(streams.isReset(1) && streams.streams[1]?.queuedBytes == 0)
            let taken = [streams.take(1), streams.take(1)]
            let message = StreamMultiplexer.Taken.message([UInt8](repeating: 1, count: 100))
            #expect(taken == (isPeerFinished ? [message, .end] : [.reset, .reset]))
            #expect(streams.held == 0)
            let again = try streams.receive(reset)
            #expect(again.isEmpty)
            let late = isPeerFinished ? [] : try streams.receive(messageText(9))
            #expect(late.isEmpty && streams.held == 0)
            streams.reset(1)
            #expect(try streams.dueFrames().isEmpty, "who was reset is not told")
        }
    }

    @Test func `a message has 1 MiB at most, announced or whole`() throws {
        var whole = try StreamMultiplexer.opened(1)
        _ = try whole.receive(messageText(1 << 20))
        #expect(throws: LinkFault.self) { try whole.receive(messageText((1 << 20) + 1)) }
        for (rest, isFine) in [((1 << 20) - 1, true), (1 << 20, false)] {
            var streams = try StreamMultiplexer.opened(1)
            let record = RecordText.of(
                .data, stream: 1, data: (0..<4).map { UInt8(rest >> ((3 - $0) * 8) & 255) } + [1])
            if isFine {
                _ = try streams.receive(record)
            } else {
                #expect(throws: LinkFault.self) { try streams.receive(record) }
            }
        }
    }

    @Test func `a link holds 64 MiB to the byte, costs of frames and promised bytes included`() throws {
        for (last, isFine) in [(0, true), (1, false)] {
            var streams = StreamMultiplexer(isDialer: false)
            func announce(_ id: UInt32, _ held: Int) throws {
                _ = try streams.receive(RecordText.open(id))
                let rest = held - Self.cost - 1
                _ = try streams.receive(
                    RecordText.of(.data, stream: id, data: (0..<4).map { UInt8(rest >> ((3 - $0) * 8) & 255) } + [1]))
            }
            for number in 0..<63 as Range<UInt32> { try announce(number * 2 + 1, 1 << 20) }
            if isFine {
                try announce(127, 1 << 20)
                #expect(streams.held == 64 << 20)
                _ = try streams.receive(RecordText.open(129))
                #expect(throws: LinkFault.self) { try streams.receive(messageText(0, on: 129)) }
            } else {
                #expect(throws: LinkFault.self) { try announce(127, (1 << 20) + last) }
            }
        }
    }

    @Test func `each ping has one pong, the newest if they come faster`() throws {
        var streams = try StreamMultiplexer.opened()
        for payload in [1, 2] as [UInt8] {
            let events = try streams.receive(
                RecordText.of(.ping, stream: 0, data: [0, 0, 0, 0, 0, 0, 0, payload]))
            #expect(events == [.pinged])
        }
        #expect(streams.fill() == RecordText.of(.pong, stream: 0, data: [0, 0, 0, 0, 0, 0, 0, 2]))
        #expect(streams.fill().isEmpty)
    }
}
