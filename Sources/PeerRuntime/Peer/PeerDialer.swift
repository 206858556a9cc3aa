internal import ClusterModel
internal import Gossip

/// The names under which nodes serve each other; the first thing that is said on a stream.
enum PeerService: String, Sendable, CaseIterable {
    case have, claim, offer, execute, export, session, content, layer, blob
    /// Fetches a tree that a later step will read.
    case prefetch
    /// Keeps layers that somebody is coming for.
    case lease
    /// Blobs of registries, which one node pulls for all.
    case image
    /// Pages of a cache-map digest.
    case digests
    /// Push/pull of the membership.
    case gossip
    /// Key rings, both ways.
    case keys

    /// Whose turn it is when streams share a link.
    var priority: StreamPriority {
        switch self {
        case .layer, .blob, .image: .pull
        case .have, .claim, .offer, .execute, .export, .session, .content, .lease, .prefetch, .digests, .gossip, .keys:
            .control
        }
    }
}

/// The cluster as the other parts of a node need it: who is there, and a stream to them.
protocol PeerDialer: AnyObject, Sendable {
    var selfID: PeerID { get }
    /// Members that answer, without this node, by id.
    var livePeers: [Member] { get }
    /// Opens a stream to a live peer.
    func open(_ service: PeerService, to peer: PeerID, priority: StreamPriority) async throws -> any PeerStream
    /// What a node is called, for people.
    func name(of peer: PeerID) -> String
}

extension PeerDialer {
    /// Opens a stream with the priority that its service has as a rule.
    func open(_ service: PeerService, to peer: PeerID) async throws -> any PeerStream {
        try await open(service, to: peer, priority: service.priority)
    }

    func isLive(_ peer: PeerID) -> Bool { peer == selfID || livePeers.contains { $0.id == peer } }
}

/// Runs `body` and gives up after `limit`: the error is `timeout`, and `body` is cancelled.
func withDeadline<T: Sendable>(
    _ limit: Duration, timeout: any Error, _ body: @escaping @Sendable () async throws -> T
) async throws -> T {
    try await withThrowingTaskGroup(of: T?.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: limit)
            return nil
        }
        defer { group.cancelAll() }
        guard let first = try await group.next(), let value = first else { throw timeout }
        return value
    }
}
