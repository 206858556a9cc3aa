import ClusterModel
import Testing

@testable import UVLoop
@testable import Wire

/// Credit, windows and bounds of streams, to the byte.
@Suite struct `The bounds of streams` {
    private static let window = 2 << 20
    private static let cost = 32

    @Test func `a peer may send its window, each frame with its cost, and not a byte more`() throws {
        for last in [window: true, window + 1: false].map({ ($0.key, $0.value) }) {
            var streams = try StreamMultiplexer.opened(1)
            _ = try streams.receive(messageText((1 << 20) - Self.cost))
            let rest = messageText(last.0 - (1 << 20) - Self.cost)
            if last.1 {
                _ = try streams.receive(rest)
                #expect(throws: LinkFault.self, "an empty one costs as well") { try streams.receive(messageText(0)) }
            } else {
                #expect(throws: LinkFault.self) { try streams.receive(rest) }
            }
        }
        var streams = try StreamMultiplexer.opened(1)
        for _ in 0..<Self.window / Self.cost { _ = try streams.receive(messageText(0)) }
        #expect(throws: LinkFault.self) { try streams.receive(messageText(0)) }
    }

    private let window = Self.window

    @Test func `credit comes back when a quarter of the window is read, once, and is a window again`() throws {
        for (bytes, credits) in [(window / 4 - Self.cost, 1), (window / 4 - Self.cost - 1, 0)] {
            var streams = try StreamMultiplexer.opened(1)
            _ = try streams.receive(messageText(bytes))
            _ = streams.take(1)
            let frames = try streams.dueFrames()
            #expect(frames.count == credits && frames.allSatisfy { $0.type == .credit && $0.bytes == 4 })
        }
        var streams = try StreamMultiplexer.opened(1)
        for round in 0..<12 {
            _ = try streams.receive(messageText((1 << 20) - Self.cost))
            let taken = streams.take(1)
            #expect(taken != .nothingYet, "\(round)")
            let text = streams.fill()
            #expect(text == RecordText.of(.credit, stream: 1, data: [0, 0x10, 0, 0]))
            #expect(streams.fill().isEmpty)
        }
        // What was given back is the window, not more.
        _ = try streams.receive(messageText((1 << 20) - Self.cost))
        _ = try streams.receive(messageText((1 << 20) - Self.cost))
        #expect(throws: LinkFault.self) { try streams.receive(messageText(0)) }
    }

    @Test func `no credit for a stream that its peer has ended`() throws {
        var streams = try StreamMultiplexer.opened(1)
        _ = try streams.receive(messageText(1 << 19))
        _ = try streams.receive(messageText(1 << 19))
        _ = try streams.receive(RecordText.of(.finish, stream: 1))
        let taken = [streams.take(1), streams.take(1), streams.take(1)]
        #expect(taken.last == .end)
        #expect(try streams.dueFrames().isEmpty)
    }

    /// A dialer's end whose stream 1 has exactly `credit` left.
    private static func left(_ credit: Int) throws -> StreamMultiplexer {
        var streams = StreamMultiplexer(isDialer: true)
        let id = try streams.open(service: "x")
        while let have = streams.streams[id]?.sendCredit, have > credit {
            _ = streams.send([UInt8](repeating: 1, count: min(4_064, max(0, have - credit - Self.cost))), on: id)
            _ = try streams.dueFrames()
            guard streams.streams[id]?.sendCredit != have else { break }
        }
        #expect(streams.streams[id]?.sendCredit == credit)
        return streams
    }

    @Test func `a sender stops where the credit ends and goes on with the first byte that pays a frame`() throws {
        for (bytes, credit, sent) in [
            (100, 132, [100]), (100, 131, []), (10_000, 4_128, [4_096 + 4]), (10_000, 4_127, []),
            (10_000, 4_200, [4_168 + 4]),
        ] as [(Int, Int, [Int])] {
            var streams = try Self.left(credit)
            _ = streams.send([UInt8](repeating: 1, count: bytes), on: 1)
            #expect(try streams.dueFrames().map(\.bytes) == sent, "\(bytes) with \(credit)")
            #expect(streams.streams[1]?.sendCredit == (sent.isEmpty ? credit : credit - min(bytes, credit - 32) - 32))
        }
        var streams = try Self.left(131)
        _ = streams.send([UInt8](repeating: 1, count: 100), on: 1)
        #expect(try streams.dueFrames().isEmpty)
        _ = try streams.receive(RecordText.of(.credit, stream: 1, data: [0, 0, 0, 1]))
        #expect(try streams.dueFrames().map(\.bytes) == [100])
    }

    @Test func `credit fills the window to the byte`() throws {
        for (credit, isFine) in [(132, true), (133, false)] as [(UInt8, Bool)] {
            var streams = StreamMultiplexer(isDialer: true)
            let id = try streams.open(service: "x")
            _ = streams.send([UInt8](repeating: 1, count: 100), on: id)
            _ = try streams.dueFrames()
            let record = RecordText.of(.credit, stream: id, data: [0, 0, 0, credit])
            if isFine {
                _ = try streams.receive(record)
                #expect(streams.streams[id]?.sendCredit == window)
            } else {
                #expect(throws: LinkFault.self) { try streams.receive(record) }
            }
        }
    }

    @Test func `a stream takes 256 KiB before its sender waits, and says once that there is room again`() throws {
        for sizes in [[(256 << 10) - 1, 1], [1_000, 256 << 10], [500 << 10]] {
            var streams = StreamMultiplexer(isDialer: true)
            let id = try streams.open(service: "x")
            for size in sizes {
                #expect(streams.hasRoom(id))
                _ = streams.send([UInt8](repeating: 1, count: size), on: id)
            }
            #expect(!streams.hasRoom(id))
            var writable = 0
            var allowance = Int.max
            let block = ByteBlock(capacity: WireLimits.recordTextBytesMax)
            for _ in 0..<10 {
                var writer = FrameWriter(block.start, capacity: block.capacity)
                writable += streams.fill(&writer, bulkAllowance: &allowance).count { $0 == .writable(stream: id) }
                #expect((writable == 1) == streams.hasRoom(id), "\(sizes)")
            }
            #expect(writable == 1)
            _ = streams.send([UInt8](repeating: 1, count: 300 << 10), on: id)
            streams.reset(id)
            #expect(streams.hasRoom(id), "who is over finds out by sending")
        }
    }

    @Test func `the end of a stream waits for the credit of what is before it`() throws {
        var streams = try Self.left(131)
        _ = streams.send([UInt8](repeating: 1, count: 100), on: 1)
        streams.finish(1)
        #expect(try streams.dueFrames().isEmpty)
        _ = try streams.receive(RecordText.of(.credit, stream: 1, data: [0, 0, 0, 1]))
        #expect(try streams.dueFrames().map(\.type) == [.dataEnd, .finish])
    }

    @Test func `control frames fill a record whole, and the next one begins with the one that did not fit`() throws {
        var streams = StreamMultiplexer(isDialer: true)
        // 69 bytes and then 16 each: a record ends with room for a ping's data, not for its header too.
        _ = try streams.open(service: String(repeating: "s", count: 60))
        for number in 0..<5_000 as Range<UInt64> { streams.ping(number) }
        #expect(streams.fill().count == 69 + 4_095 * 16)
        #expect(streams.fill().count == 905 * 16)
    }

    @Test func `what is received is counted by priority, and what is sent without what waits`() throws {
        var streams = StreamMultiplexer(isDialer: false)
        _ = try streams.receive(RecordText.open(1, priority: 1))
        _ = try streams.receive(messageText(10))
        _ = try streams.receive(RecordText.open(3))
        _ = try streams.receive(messageText(7, on: 3))
        #expect(streams.receivedBytes == [.pull: 10, .control: 7])
        var sender = StreamMultiplexer(isDialer: true)
        let id = try sender.open(service: "x", priority: .prefetch)
        _ = sender.send([UInt8](repeating: 1, count: 200_000), on: id)
        var allowance = 1_000_000
        let block = ByteBlock(capacity: WireLimits.recordTextBytesMax)
        var writer = FrameWriter(block.start, capacity: block.capacity)
        _ = sender.fill(&writer, bulkAllowance: &allowance)
        let sent = try #require(sender.sentBytes[.prefetch])
        #expect((60_000...65_536).contains(sent) && allowance == 1_000_000 - Int(sent))
        // A frame may overdraw the allowance; nothing goes while it is used up.
        allowance = 1
        writer = FrameWriter(block.start, capacity: block.capacity)
        _ = sender.fill(&writer, bulkAllowance: &allowance)
        #expect(allowance < 0)
        let control = try sender.open(service: "c")
        _ = sender.send([1, 2], on: control)
        for used in [allowance, 0] {
            var none = used
            writer = FrameWriter(block.start, capacity: block.capacity)
            _ = sender.fill(&writer, bulkAllowance: &none)
            #expect(none == used, "control costs nothing, bulk waits")
        }
        #expect(sender.sentBytes[.control] == 2)
    }

    @Test func `frames are no longer than 64 KiB, and a small message goes between those of a long one`() throws {
        var streams = StreamMultiplexer(isDialer: true)
        let (bulk, small) = (try streams.open(service: "b"), try streams.open(service: "s"))
        _ = streams.send([UInt8](repeating: 1, count: 1 << 20), on: bulk)
        _ = streams.fill()
        _ = streams.send([7], on: small)
        let frames = try streams.dueFrames()
        let place = try #require(frames.firstIndex { $0.stream == small })
        #expect(place <= 1 && frames.count > 12)
        #expect(frames.allSatisfy { $0.bytes <= (64 << 10) + 4 })
    }
}
