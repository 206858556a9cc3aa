import ClusterModel
import Sodium
import Testing
import UVLoop

@testable import Wire

@Suite struct `A link under attack` {
    @Test func `two machines agree on who they are`() throws {
        var (dialer, listener) = try machines()
        let events = try exchange(&dialer, &listener)
        #expect(events.count == 1 && dialer.isEstablished && listener.isEstablished)
        let id = try dialer.streams.open(service: "x")
        let wasSent = dialer.streams.send([1, 2, 3], on: id)
        #expect(wasSent)
        let seen = try exchange(&dialer, &listener)
        #expect(
            seen
                == [.stream(.opened(stream: id, service: "x", priority: .control)), .stream(.readable(stream: id))])
        let taken = listener.streams.take(id)
        #expect(taken == .message([1, 2, 3]))
    }

    @Test(arguments: UInt64(0)..<200) func `garbage, flips and cuts never crash and never pass`(_ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var (dialer, listener) = try machines()
        let phase = Int.random(in: 0..<3, using: &random)
        if phase > 0 { _ = try exchange(&dialer, &listener) }
        if phase == 2 {
            let id = try dialer.streams.open(service: "fuzz")
            _ = dialer.streams.send([UInt8](repeating: 3, count: 5_000), on: id)
        } else if phase == 1 {
            dialer.streams.ping(1)
        }
        var bytes = try dialer.takeOutput().bytes
        try #require(!bytes.isEmpty)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1:
            bytes = (0..<Int.random(in: 200...4_000, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
        default: bytes = Array(bytes[..<Int.random(in: 0..<bytes.count, using: &random)])
        }
        let events = (try? listener.receive(bytes)) ?? []
        #expect(events.isEmpty)
    }

    @Test(arguments: UInt64(0)..<300) func `frames of a hostile holder of the key only fail the link`(
        _ seed: UInt64
    ) throws {
        var random = SplitMix64(seed: seed)
        var streams = StreamMultiplexer(isDialer: false)
        for _ in 0..<50 {
            var record = RecordText()
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                let length = Int.random(in: 0...70, using: &random)
                let given = Int.random(in: 0..<20, using: &random) == 0 ? length / 2 : length
                record.append(
                    code: UInt8.random(in: 0...10, using: &random), stream: UInt32.random(in: 0...6, using: &random),
                    length: length, data: (0..<given).map { _ in UInt8.random(in: 0...127, using: &random) })
            }
            guard (try? streams.receive(record.bytes)) != nil else { return }
            _ = streams.fill()
        }
    }

    @Test func `data beyond the window is a violation`() throws {
        var streams = StreamMultiplexer(isDialer: false)
        _ = try streams.receive(RecordText.open(1))
        let record = RecordText.of(.dataEnd, stream: 1, data: [UInt8](repeating: 0, count: 16 << 10))
        let allowed = WireLimits.windowBytes / ((16 << 10) + WireLimits.frameCost)
        for _ in 0..<allowed { _ = try streams.receive(record) }
        #expect(throws: LinkFault.self) { try streams.receive(record) }
    }

    @Test func `replay windows admit each counter once, in any order`() {
        var window = ReplayWindow()
        var random = SplitMix64(seed: 4)
        var seen: Set<UInt64> = []
        var newest: UInt64 = 0
        for _ in 0..<20_000 {
            let counter =
                newest &+ UInt64.random(in: 0...8, using: &random)
                &- min(newest, UInt64.random(in: 0...1_200, using: &random))
            let isTooOld = newest >= ReplayWindow.width && counter <= newest - ReplayWindow.width
            let isAdmitted = window.admit(counter)
            #expect(isAdmitted == (!isTooOld && !seen.contains(counter)))
            seen.insert(counter)
            newest = max(newest, counter)
        }
    }

    @Test func `a newer boot replaces the older one, and senders are bounded`() {
        var replays = ReplayGuard(sendersMax: 2)
        let packets: [(UInt64, UInt64, UInt64)] = [
            (1, 5, 9), (1, 5, 9), (1, 6, 1), (1, 5, 10), (2, 1, 1), (3, 1, 1), (2, 1, 1),
        ]
        let admitted = packets.map { replays.admit(node: $0.0, bootID: $0.1, counter: $0.2) }
        #expect(admitted == [.fresh, .replayed, .fresh, .staleBoot, .fresh, .fresh, .replayed])
        // The third sender made the guard forget; bounded is bounded.
        #expect(replays.sendersCount <= 2)
        var log = CauseLog<String>()
        let start = ContinuousClock.now
        let lines = [("a", 0), ("b", 1), ("a", 2), ("a", 59), ("a", 60), ("b", 60), ("b", 61)].map {
            log.due($0.0, at: start + .seconds($0.1))
        }
        #expect(lines == [0, 0, nil, nil, 2, nil, 1])
    }
}

/// A bare TCP client that says something and waits for the end.
actor RawClient {
    private let loop: LoopThread
    private var connection: TCPConnection?
    private let ends: AsyncStream<Void>
    private let end: AsyncStream<Void>.Continuation

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init() throws {
        loop = try LoopThread()
        (ends, end) = AsyncStream.makeStream()
    }

    func say(_ bytes: [UInt8], to address: PeerAddress) throws {
        connection = try TCPConnection(loop: loop)
        try connection?.connect(to: SocketAddress(host: address.host, port: address.port)) { [weak self] _ in
            self?.assumeIsolated { try? $0.start(bytes) }
        }
    }

    private func start(_ bytes: [UInt8]) throws {
        let end = end
        try connection?.startReading { event in
            if case .bytes = event { return }
            end.yield()
        }
        try connection?.write(bytes) { _ in }
    }

    /// Waits until the other side has closed.
    func closed() async { _ = await ends.first { _ in true } }

    func stop() async {
        connection = nil
        await loop.shutDown()
    }
}

@Suite(.serialized) struct `Strangers at the listener` {
    @Test(arguments: UInt64(0)..<8) func `garbage closes the connection and nothing else`(_ seed: UInt64) async throws {
        var times = LinkTimes()
        times.handshake = .seconds(1)
        try await withPair(times: times) { left, right in
            var random = SplitMix64(seed: seed)
            let count = seed == 0 ? 0 : Int.random(in: 1...400, using: &random)
            let client = try RawClient()
            try await client.say((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }, to: right.address)
            await client.closed()
            await client.stop()
            #expect(await right.links.counters().handshakesFailed == 1)
            let stream = try await left.links.open("echo", to: right.address, expecting: nil)
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
        }
    }
}
