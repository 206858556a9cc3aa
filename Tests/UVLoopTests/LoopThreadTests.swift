import Synchronization
import Testing
import UVLoop

/// An actor on a loop, with the sockets that a test opens.
actor Echo {
    let loop: LoopThread
    private var listener: TCPListener?
    private var client: TCPConnection?
    private var server: Basket?
    private var socket: UDPSocket?
    private var timer: LoopTimer?
    nonisolated let events: AsyncStream<String>
    private let report: AsyncStream<String>.Continuation

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(loop: LoopThread) {
        self.loop = loop
        (events, report) = AsyncStream.makeStream()
    }

    func isOnLoop() -> Bool { loop.isCurrent }

    func listen(host: String) throws -> SocketAddress {
        let fresh = try TCPListener(loop: loop, address: SocketAddress(host: host, port: 0)) { [weak self] connection in
            let basket = Basket(connection)
            self?.assumeIsolated { $0.accepted(basket) }
        }
        let bound = try fresh.localAddress()
        listener = consume fresh
        return bound
    }

    private func accepted(_ basket: Basket) {
        server = basket
        basket.echo()
    }

    func connect(to address: SocketAddress, saying bytes: [UInt8]) throws {
        client = try TCPConnection(loop: loop)
        let report = report
        try client?.connect(to: address) { [weak self] error in
            report.yield(error.map { "failed: \($0.name)" } ?? "connected")
            guard error == nil else { return }
            self?.assumeIsolated { try? $0.say(bytes) }
        }
    }

    private func say(_ bytes: [UInt8]) throws {
        let report = report
        try client?.startReading { event in
            if case .bytes(let answer) = event { report.yield("read \(answer.count)") }
        }
        try client?.write(bytes) { report.yield($0.map { "failed: \($0.name)" } ?? "written") }
    }

    func bindUDP(host: String) throws -> SocketAddress {
        let report = report
        let fresh = try UDPSocket(loop: loop, address: SocketAddress(host: host, port: 0)) { datagram in
            report.yield("datagram \(datagram.bytes.count) from \(datagram.source?.host ?? "?")")
        }
        let bound = try fresh.localAddress()
        socket = consume fresh
        return bound
    }

    func send(_ bytes: [UInt8], to address: SocketAddress) throws { try socket?.send(bytes, to: address) }

    func startTimer() throws {
        let report = report
        timer = try LoopTimer(loop: loop) { report.yield("tick") }
        try timer?.start(after: .milliseconds(1))
    }

    func closeAll() {
        listener = nil
        client = nil
        server = nil
        socket = nil
        timer = nil
    }
}

/// A connection that was accepted.
///
/// Touched on the loop's thread only.
final class Basket: @unchecked Sendable {
    private let connection: TCPConnection

    init(_ connection: consuming TCPConnection) { self.connection = connection }

    func echo() {
        try? connection.startReading { [weak self] event in
            if case .bytes(let bytes) = event { try? self?.connection.write(bytes) { _ in } }
        }
    }
}

/// Sends blocks to itself over a connection.
actor BlockPipe {
    private let loop: LoopThread
    private var listener: TCPListener?
    private var sender: TCPConnection?
    private var receiver: ConnectionHolder?
    private let target = ByteBlock(capacity: 100_000)
    private var sent = 0
    private var total = 0
    private(set) var received = 0
    private(set) var isInOrder = true

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(loop: LoopThread) { self.loop = loop }

    func start(bytes: Int) throws {
        total = bytes
        let fresh = try TCPListener(loop: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) {
            [weak self] connection in
            let holder = ConnectionHolder(connection)
            self?.assumeIsolated { $0.accepted(holder) }
        }
        let address = try fresh.localAddress()
        listener = consume fresh
        sender = try TCPConnection(loop: loop)
        try sender?.connect(to: address) { [weak self] _ in self?.assumeIsolated { $0.send() } }
    }

    private func accepted(_ holder: ConnectionHolder) {
        receiver = holder
        let target = target
        try? holder.connection.startReading(into: { ReadRoom(target, from: 0) }) { [weak self] event in
            guard case .filled(let count) = event else { return }
            self?.assumeIsolated { $0.check(count) }
        }
    }

    /// Bytes count up, modulo a prime.
    private func check(_ count: Int) {
        for (index, byte) in target.bytes(0..<count).enumerated() where byte != UInt8((received + index) % 251) {
            isInOrder = false
        }
        received += count
    }

    private func send() {
        while sent < total {
            let block = ByteBlock(capacity: 1 << 20)
            for index in 0..<block.capacity { block.start[index] = UInt8((sent + index) % 251) }
            sent += block.capacity
            let isWritten = try? sender?.write(block, count: block.capacity) { [weak self] error in
                if error == nil { self?.assumeIsolated { $0.send() } }
            }
            guard isWritten == true else { return }
        }
    }

    func offload(_ work: @escaping @Sendable () -> Void, then done: @escaping @Sendable () -> Void) {
        loop.offload(work, then: done)
    }

    func close() {
        listener = nil
        sender = nil
        receiver = nil
    }
}

/// Keeps a connection that was accepted.
///
/// Touched on the loop's thread only.
final class ConnectionHolder: @unchecked Sendable {
    let connection: TCPConnection

    init(_ connection: consuming TCPConnection) { self.connection = connection }
}

/// Waits until `condition` holds, or fails after a minute.
func eventually(_ what: String, _ condition: () async -> Bool) async {
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
        if await condition() { return }
        await Task.yield()
    }
    Issue.record("never came true: \(what)")
}

@Suite struct `The libuv thread` {
    @Test func `an actor runs on the loop and handles close with their owners`() async throws {
        let loop = try LoopThread()
        let echo = Echo(loop: loop)
        #expect(await echo.isOnLoop())
        #expect(!loop.isCurrent)
        _ = try await echo.listen(host: "127.0.0.1")
        _ = try await echo.bindUDP(host: "127.0.0.1")
        try await echo.startTimer()
        #expect(loop.handleCount == 3)
        await echo.closeAll()
        await eventually("all handles closed") { loop.handleCount == 0 }
        await loop.shutDown()
    }

    @Test(arguments: ["127.0.0.1", "::1"]) func `bytes come back over TCP`(_ host: String) async throws {
        let loop = try LoopThread()
        let echo = Echo(loop: loop)
        let address = try await echo.listen(host: host)
        try await echo.connect(to: address, saying: [1, 2, 3])
        var seen: Set<String> = []
        for await event in echo.events {
            seen.insert(event)
            if seen.count == 3 { break }
        }
        #expect(seen == ["connected", "written", "read 3"])
        await loop.shutDown()
        #expect(loop.handleCount == 0)
    }

    @Test func `blocks are written and read without a copy, in order`() async throws {
        let loop = try LoopThread()
        let pipe = BlockPipe(loop: loop)
        let bytes = 6 << 20
        try await pipe.start(bytes: bytes)
        await eventually("all bytes are through") { await pipe.received >= bytes }
        #expect(await pipe.received == bytes)
        #expect(await pipe.isInOrder)
        await pipe.close()
        await loop.shutDown()
    }

    @Test func `work goes to another thread and comes back, also while the loop stops`() async throws {
        let loop = try LoopThread()
        let pipe = BlockPipe(loop: loop)
        let counts = Mutex((elsewhere: 0, back: 0))
        for _ in 0..<50 {
            await pipe.offload {
                if !loop.isCurrent { counts.withLock { $0.elsewhere += 1 } }
            } then: {
                if loop.isCurrent { counts.withLock { $0.back += 1 } }
            }
        }
        await loop.shutDown()
        #expect(counts.withLock { $0.back } == 50)
        #expect(counts.withLock { $0.elsewhere } > 0)
    }

    @Test func `a refused connection says so`() async throws {
        let loop = try LoopThread()
        let echo = Echo(loop: loop)
        let address = try await echo.listen(host: "127.0.0.1")
        await echo.closeAll()
        await eventually("listener closed") { loop.handleCount == 0 }
        try await echo.connect(to: address, saying: [])
        let first = await echo.events.first { _ in true }
        #expect(first == "failed: ECONNREFUSED")
        await loop.shutDown()
    }

    @Test func `an IPv6 socket takes IPv4 and names it as such`() async throws {
        let loop = try LoopThread()
        let both = Echo(loop: loop)
        let four = Echo(loop: loop)
        let port = try await both.bindUDP(host: "::").port
        _ = try await four.bindUDP(host: "127.0.0.1")
        try await four.send([1, 2], to: SocketAddress(host: "127.0.0.1", port: port))
        #expect(await both.events.first { _ in true } == "datagram 2 from 127.0.0.1")
        await loop.shutDown()
    }

    @Test func `an actor still runs after the shutdown, and opening anything throws`() async throws {
        let loop = try LoopThread()
        let echo = Echo(loop: loop)
        await loop.shutDown()
        #expect(await echo.isOnLoop())
        await #expect(throws: UVError.self) { _ = try await echo.listen(host: "127.0.0.1") }
        await loop.shutDown()
    }

    @Test func `names resolve, and unknown ones give the resolver's words`() async throws {
        let loop = try LoopThread()
        let found = try await loop.resolve(host: "localhost", port: 7)
        #expect(
            found.contains(SocketAddress(host: "127.0.0.1", port: 7))
                || found.contains(SocketAddress(host: "::1", port: 7)))
        await #expect(throws: UVError.self) { _ = try await loop.resolve(host: "no such name", port: 7) }
        await loop.shutDown()
    }
}
