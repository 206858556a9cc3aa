package import ClusterModel
package import Logging
internal import UVLoop

/// Finds nodes on this node's links: the shell of `LinkBeacon`, with a socket for IPv4 and one for IPv6.
///
/// It lives on the peer links' loop thread.
package actor LinkDiscovery {
    private static let groups = [
        SocketAddress(host: "224.0.0.251", port: LinkBeacon.port),
        SocketAddress(host: "ff02::fb", port: LinkBeacon.port),
    ]

    private let links: PeerLinks
    private let logger: Logger
    private let origin: ContinuousClock.Instant
    private var beacon: LinkBeacon
    private var four: UDPSocket?
    private var six: UDPSocket?
    private var timer: LoopTimer?
    private var found: @Sendable ([PeerAddress]) -> Void = { _ in }

    package nonisolated var unownedExecutor: UnownedSerialExecutor { links.unownedExecutor }

    package init(beacon: LinkBeacon, links: PeerLinks, logger: Logger) {
        self.beacon = beacon
        self.links = links
        self.logger = logger
        origin = .now
    }

    /// Messages of the links that are no DNS.
    package var malformed: UInt64 { beacon.malformed }

    /// Begins to announce and to ask; `found` is told all that is known with each change, on the loop's thread.
    ///
    /// A machine without multicast is no reason not to run: it is logged, and nothing is found.
    package func start(_ found: @escaping @Sendable ([PeerAddress]) -> Void) {
        self.found = found
        do {
            let fresh = try LoopTimer(loop: links.loop) { [weak self] in
                self?.assumeIsolated { $0.handle(.timer) }
            }
            timer = consume fresh
        } catch {
            return logger.error("nodes on this link cannot be found", metadata: ["error": "\(error)"])
        }
        four = socket(for: Self.groups[0])
        six = socket(for: Self.groups[1])
        handle(.start)
    }

    /// Takes back what was announced and closes the sockets.
    package func stop() {
        guard timer != nil else { return }
        handle(.stop)
        four = nil
        six = nil
        timer = nil
    }

    private func socket(for group: SocketAddress) -> UDPSocket? {
        do {
            return try UDPSocket(loop: links.loop, group: group) { [weak self] datagram in
                self?.assumeIsolated { $0.received(datagram) }
            }
        } catch {
            logger.warning("multicast DNS is not heard", metadata: ["group": "\(group)", "error": "\(error)"])
            return nil
        }
    }

    private func received(_ datagram: IncomingDatagram) {
        guard datagram.bytes.count <= DNSMessage.bytesMax, let source = datagram.source else { return }
        handle(.datagram([UInt8](datagram.bytes), port: source.port))
    }

    private func handle(_ event: LinkBeacon.Event) {
        let now = MonotonicInstant(nanoseconds: (ContinuousClock.now - origin).nanoseconds)
        for effect in beacon.handle(event, at: now) {
            switch effect {
            case .send(let bytes): send(bytes)
            case .wake(let instant): wake(after: max(.zero, instant - now))
            case .found(let addresses): found(addresses)
            }
        }
    }

    private func wake(after delay: Duration) {
        do {
            try timer?.start(after: delay + .milliseconds(1))
        } catch {
            logger.debug("no wake", metadata: ["error": "\(error)"])
        }
    }

    /// On every link that there is now: interfaces come and go.
    private func send(_ bytes: [UInt8]) {
        var names: Set<String> = []
        for interface in NetworkInterface.all {
            do {
                if interface.address.isIPv6 {
                    guard names.insert(interface.name).inserted else { continue }
                    try six?.join(Self.groups[1], on: interface)
                    try six?.send(bytes, toGroup: Self.groups[1], on: interface)
                } else {
                    try four?.join(Self.groups[0], on: interface)
                    try four?.send(bytes, toGroup: Self.groups[0], on: interface)
                }
            } catch {
                logger.debug("multicast DNS is not sent", metadata: ["on": "\(interface.name)", "error": "\(error)"])
            }
        }
    }
}
