import ClusterModel
import Testing
import UVLoop
import Wire

/// Forwards one TCP connection until it is told to fall silent, as a hung node or a cut cable would.
actor Relay {
    private let loop: LoopThread
    private let target: PeerAddress
    private var listener: TCPListener?
    private var near: Leg?
    private var far: Leg?
    private var isSilent = false
    private var damages = false

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(to target: PeerAddress) throws {
        loop = try LoopThread()
        self.target = target
    }

    /// One side of the relay.
    ///
    /// Touched on the loop's thread only.
    final class Leg: @unchecked Sendable {
        let connection: TCPConnection
        init(_ connection: consuming TCPConnection) { self.connection = connection }
    }

    func start() throws -> PeerAddress {
        let fresh = try TCPListener(loop: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) {
            [weak self] incoming in
            let leg = Leg(incoming)
            self?.assumeIsolated { try? $0.accepted(leg) }
        }
        let bound = try fresh.localAddress()
        listener = consume fresh
        return PeerAddress(host: bound.host, port: bound.port)
    }

    private func accepted(_ leg: Leg) throws {
        near = leg
        let other = Leg(try TCPConnection(loop: loop))
        far = other
        try other.connection.connect(to: SocketAddress(host: target.host, port: target.port)) { [weak self] _ in
            self?.assumeIsolated { try? $0.join(leg, other) }
        }
    }

    private func join(_ one: Leg, _ two: Leg) throws {
        for (from, to, isToTarget) in [(one, two, true), (two, one, false)] {
            try from.connection.startReading { [weak self] event in
                guard case .bytes(let bytes) = event else { return }
                self?.assumeIsolated { relay in
                    guard !relay.isSilent else { return }
                    var bytes = bytes
                    if isToTarget, relay.damages {
                        bytes[bytes.count - 1] ^= 1
                        relay.damages = false
                    }
                    try? to.connection.write(bytes) { _ in }
                }
            }
        }
    }

    func fallSilent() { isSilent = true }

    /// Flips a bit of what goes to the target next, be it a ping that nobody asked for.
    func damageNext() { damages = true }

    func stop() async {
        listener = nil
        near = nil
        far = nil
        await loop.shutDown()
    }
}

@Suite struct `A peer that hangs` {
    @Test func `is noticed by its silence, on both sides`() async throws {
        var times = LinkTimes()
        times.ping = .milliseconds(50)
        times.silence = .seconds(1)
        try await withPair(times: times) { left, right in
            let relay = try Relay(to: right.address)
            let stream = try await left.links.open("echo", to: try await relay.start(), expecting: right.links.peerID)
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            let start = ContinuousClock.now
            await relay.fallSilent()
            await #expect {
                _ = try await stream.receive()
            } throws: {
                "\($0)".contains("no answer")
            }
            #expect(ContinuousClock.now - start >= .milliseconds(900))
            #expect(await left.links.counters().linksSilent == 1)
            await eventually("the other side too") { await right.links.counters().openStreams == 0 }
            await relay.stop()
        }
    }

    @Test func `a dialer gives up on a listener that says nothing`() async throws {
        var times = LinkTimes()
        times.handshake = .seconds(1)
        try await withPair(times: times) { left, right in
            let relay = try Relay(to: right.address)
            let address = try await relay.start()
            await relay.fallSilent()
            await #expect {
                _ = try await left.links.open("echo", to: address, expecting: nil)
            } throws: {
                "\($0)".contains("no handshake within")
            }
            #expect(await left.links.counters().handshakesTimedOut == 1)
            await relay.stop()
        }
    }

    @Test func `who waits for a node that turns out dead goes on at once`() async throws {
        try await withPair { left, right in
            let stream = try await left.links.open("mute", to: right.address, expecting: nil)
            let peer = right.links.peerID
            let waiting = Task { try await stream.receive() }
            await left.links.giveUp(peer, at: right.address)
            await #expect(throws: WireError.self) { _ = try await waiting.value }
            #expect(await left.links.counters().links == 0)
            // A word about a boot is none about the node: it is reached again when it is asked.
            let again = try await left.links.open("echo", to: right.address, expecting: peer)
            try await again.send([1])
            #expect(try await again.receive() == [1])
        }
    }
}
