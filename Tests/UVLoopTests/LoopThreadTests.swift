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

/// Waits until `condition` holds, or fails after ten seconds.
func eventually(_ what: String, _ condition: () async -> Bool) async {
    let end = ContinuousClock.now + .seconds(10)
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
