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
    let logger: Logger
    private let flights = Mutex<[Digest: BlobFlight]>([:])

    init(
        content: ContentStore, registry: RegistryClient, resolutions: ResolutionCache, dialer: any PeerDialer,
        counters: RuntimeCounters, logger: Logger
    ) {
        self.content = content
        self.registry = registry
        self.resolutions = resolutions
        self.dialer = dialer
        self.counters = counters
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
            do {
                try await lead(flight, blob, plan, source)
            } catch let error as ContentStoreError where error.isWrongContent {
                logger.warning("a peer gave other bytes than those of \(blob.digest); asking the registry itself")
                try await leadFromRegistry(blob, source)
            }
        }
    }

    func plan(for blob: Digest, isAsked: Bool) -> SharePlan {
        SharePlan(for: blob, own: dialer.selfID, peers: dialer.livePeers.map(\.id), isAsked: isAsked)
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

    /// Takes the steps of the plan until the blob is here; the flight is over when this returns.
    ///
    /// - Throws: the registry's word, if it had one.
    func lead(_ flight: BlobFlight, _ blob: Descriptor, _ plan: SharePlan, _ source: SharedSource) async throws {
        var isThere = false
        defer {
            flights.withLock { $0[blob.digest] = nil }
            flight.writer.abort()
            flight.end(isThere)
        }
        var failure: (any Error)?
        for step in plan.steps {
            do {
                flight.enter(step.phase)
                switch step {
                case .owner(let peer): try await pull(blob, .get, from: peer, into: flight, source)
                case .holders(let peers):
                    guard try await pull(blob, fromAnyOf: peers, into: flight, source) else { continue }
                case .registry: try await pullFromRegistry(blob, into: flight, source)
                }
                try flight.writer.commit(expected: blob.digest)
                isThere = true
                source.progress(blob.digest.description, "", flight.written, flight.written, true)
                return
            } catch let error as ContentStoreError {
                throw error
            } catch {
                try Task.checkCancellation()
                if case .registry = step { failure = error } else if failure == nil { failure = error }
                logger.debug("a blob did not come", metadata: ["blob": "\(blob.digest)", "error": "\(error)"])
            }
        }
        throw failure ?? ShareError.refused("nobody has \(blob.digest)")
    }

    private func leadFromRegistry(_ blob: Descriptor, _ source: SharedSource) async throws {
        let flight = BlobFlight(writer: try content.ingest(), bytesMax: blob.size)
        defer { flight.writer.abort() }
        try await pullFromRegistry(blob, into: flight, source)
        try flight.writer.commit(expected: blob.digest)
    }

    // MARK: From the registry

    private func pullFromRegistry(_ blob: Descriptor, into flight: BlobFlight, _ source: SharedSource) async throws {
        let isDocument = Self.isManifest(blob.mediaType)
        // What a peer gave before it failed is the same bytes, or the digest tells.
        let skipped = Mutex(flight.written)
        let tally = TransferTally.current
        let take: @Sendable ([UInt8]) throws -> Void = { [counters] bytes in
            counters.add(\.registryBytesPulled, UInt64(bytes.count))
            tally?.add(\.registry, Int64(bytes.count))
            let skip = skipped.withLock { left in
                let skip = min(left, Int64(bytes.count))
                left -= skip
                return Int(skip)
            }
            guard skip < bytes.count else { return }
            try flight.write(skip == 0 ? bytes : Array(bytes[skip...]))
            source.progress(blob.digest.description, "", flight.written, max(blob.size, flight.written), false)
        }
        if isDocument {
            try take(try await source.provider.document(blob, bytesMax: Int(clamping: blob.size)))
        } else {
            try await source.provider.read(blob) { try take($0) }
        }
    }

    private static func isManifest(_ type: String) -> Bool {
        [MediaType.ociIndex, MediaType.dockerIndex, MediaType.ociManifest, MediaType.dockerManifest].contains(type)
    }

    // MARK: From peers

    /// Asks one peer after the other whether it has the blob; false when none does.
    private func pull(
        _ blob: Descriptor, fromAnyOf peers: [PeerID], into flight: BlobFlight, _ source: SharedSource
    ) async throws -> Bool {
        for peer in peers where dialer.isLive(peer) {
            do {
                try await pull(blob, .hold, from: peer, into: flight, source)
                return true
            } catch let error as ContentStoreError {
                throw error
            } catch {
                try Task.checkCancellation()
            }
        }
        return false
    }

    private func pull(
        _ blob: Descriptor, _ mode: ShareMessage.Mode, from peer: PeerID, into flight: BlobFlight,
        _ source: SharedSource
    ) async throws {
        let stream = try await dialer.open(.image, to: peer)
        defer { stream.reset() }
        let ask = ShareMessage.Ask(
            mode: mode, blob: blob, offset: UInt64(flight.written), repository: source.reference.name)
        try await stream.send(ShareMessage.ask(ask).encoded)
        let limit = mode == .get ? Self.ownerLimit : Self.holderLimit
        var logins = 0
        while true {
            switch try await next(on: stream, within: limit) {
            case .bytes(let bytes):
                try flight.write(bytes)
                counters.add(\.layerBytesPulled, UInt64(bytes.count))
                TransferTally.current?.add(pulled: Int64(bytes.count), from: peer)
                source.progress(blob.digest.description, "", flight.written, max(blob.size, flight.written), false)
            case .waiting: continue
            case .wantLogin(let host):
                logins += 1
                guard logins <= Self.loginsMax else { throw ShareError.malformed("too many questions for logins") }
                let login = try await source.credentials.login(forHost: host)
                let answer = login.map { ShareMessage.Login(username: $0.username, secret: $0.secret) }
                try await stream.send(ShareMessage.login(answer).encoded)
            case .end: return
            case .refused(let why): throw ShareError.refused(why)
            case .ask, .login, .askResolution, .resolution: throw ShareError.malformed("a message out of turn")
            }
        }
    }

    private func next(on stream: any PeerStream, within limit: Duration) async throws -> ShareMessage {
        let bytes = try await withDeadline(limit, timeout: ShareError.stalled) {
            try await withTaskCancellationHandler {
                try await stream.receive()
            } onCancel: {
                stream.reset()
            }
        }
        guard let bytes else { throw ShareError.ended }
        return try ShareMessage(decoding: bytes)
    }

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

extension SharePlan.Step {
    /// What a flight does in this step.
    fileprivate var phase: BlobFlight.Phase {
        switch self {
        case .owner: .owner
        case .holders: .holders
        case .registry: .registry
        }
    }
}

extension ContentStoreError {
    var isWrongContent: Bool { if case .wrongContent = self { true } else { false } }
}
