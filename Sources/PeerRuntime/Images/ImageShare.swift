internal import ClusterModel
internal import ContentStore
internal import Gossip
internal import Logging
internal import OCI
internal import Registry
internal import Synchronization
internal import Worker

/// Blobs of registries, pulled once for the cluster and handed on among its nodes, while they arrive.
final class ImageShare: ImageSharing {
    /// An owner that says nothing for this long is given up; it says at least that it is waiting, every `pulse`.
    ///
    /// Longer than a link takes to notice that its other end is gone.
    static let ownerLimit = Duration.seconds(30)
    /// A question whether a node has a blob is answered at once.
    static let holderLimit = Duration.seconds(5)
    static let pulse = Duration.seconds(3)
    /// How long a peer waits for a node that itself waits for the blob's owner.
    ///
    /// Two nodes with other views of the cluster may wait for each other: this is the end of it.
    static let followLimit = Duration.seconds(6)
    /// Logins that an owner may ask of an asker for one blob: its own host and a token server, with some to spare.
    static let loginsMax = 8
    /// Blobs that are on their way at once; more are refused to peers.
    static let flightsMax = 256

    let content: ContentStore
    let registry: RegistryClient
    let resolutions: ResolutionCache
    let dialer: any PeerDialer
    let counters: RuntimeCounters
    /// Which nodes have sent wrong bytes, of blobs or of layers.
    let standing: HolderStanding
    let logger: Logger
    /// Blobs that are on their way: who leads a flight here takes it out, or puts a new one in its place.
    let flights = Mutex<[Digest: BlobFlight]>([:])

    init(
        content: ContentStore, registry: RegistryClient, resolutions: ResolutionCache, dialer: any PeerDialer,
        counters: RuntimeCounters, standing: HolderStanding, logger: Logger
    ) {
        self.content = content
        self.registry = registry
        self.resolutions = resolutions
        self.dialer = dialer
        self.counters = counters
        self.standing = standing
        self.logger = logger
    }

    func flight(of blob: Digest) -> BlobFlight? { flights.withLock { $0[blob] } }

    func bring(_ blob: Descriptor, from source: SharedSource) async throws {
        while !content.contains(blob.digest) {
            try Task.checkCancellation()
            let plan = plan(for: blob.digest, isAsked: false)
            let (flight, isMine) = try begin(blob, plan)
            // After another's failure this build tries itself: it may have the login that the other lacked.
            guard isMine else {
                _ = try await flight.outcome()
                continue
            }
            try await lead(flight, blob, plan, source)
        }
    }

    func plan(for blob: Digest, isAsked: Bool) -> SharePlan {
        SharePlan(
            for: blob, own: dialer.selfID, peers: dialer.livePeers.map(\.id), demoted: standing.demotedPeers,
            isAsked: isAsked)
    }

    /// The blob's flight, and whether the caller has to lead it.
    func begin(_ blob: Descriptor, _ plan: SharePlan) throws -> (flight: BlobFlight, isMine: Bool) {
        let fresh = BlobFlight(writer: try content.ingest(), bytesMax: blob.size)
        if plan.isOwners { fresh.enter(.holders) }
        return flights.withLock { flights in
            if let known = flights[blob.digest] { return (known, false) }
            flights[blob.digest] = fresh
            return (fresh, true)
        }
    }

    var isBusy: Bool { flights.withLock { $0.count >= Self.flightsMax } }

    func peersResolution(of reference: Reference) async -> RecentResolution? {
        for member in dialer.livePeers {
            guard let stream = try? await dialer.open(.image, to: member.id) else { continue }
            defer { stream.reset() }
            let question = ShareMessage.askResolution(reference.description)
            guard (try? await stream.send(question.encoded)) != nil,
                case .resolution(let descriptor, let age)? = try? await next(on: stream, within: Self.holderLimit)
            else { continue }
            return RecentResolution(
                descriptor: descriptor, age: .seconds(Int64(age)), node: "node " + member.metadata.name)
        }
        return nil
    }
}
