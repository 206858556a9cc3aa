internal import ClusterModel

/// A stream over a peer link.
///
/// Letting go of the last reference ends it: after `finish()` what was sent still arrives, without it the peer sees a
/// reset.
final class LinkStream: PeerStream {
    private let links: PeerLinks
    private let handle: UInt64

    init(links: PeerLinks, handle: UInt64) {
        self.links = links
        self.handle = handle
    }

    deinit {
        links.onLoop { [handle] in $0.abandonStream(handle) }
    }

    func send(_ message: [UInt8]) async throws { try await links.send(message, on: handle) }
    func receive() async throws -> [UInt8]? { try await links.receive(on: handle) }
    func finish() async { await links.finishStream(handle) }
    func linkRate() async -> LinkRate? { await links.linkRate(of: handle) }
    func reset() { links.onLoop { [handle] in $0.resetStream(handle) } }
}
