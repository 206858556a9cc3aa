internal import ClusterModel
internal import ContentStore
internal import Logging
internal import OCI
internal import Registry
internal import Synchronization
internal import Worker

/// One source of a blob that is tried.
private enum Attempt {
    case owner(PeerID)
    case holder(PeerID)
    case registry

    static func all(of plan: SharePlan) -> [Attempt] {
        plan.steps.flatMap { step -> [Attempt] in
            switch step {
            case .owner(let peer): [.owner(peer)]
            case .holders(let peers): peers.map(Attempt.holder)
            case .registry: [.registry]
            }
        }
    }

    /// What a flight does meanwhile.
    var phase: BlobFlight.Phase {
        switch self {
        case .owner: .owner
        case .holder: .holders
        case .registry: .registry
        }
    }

    var peer: PeerID? {
        switch self {
        case .owner(let peer), .holder(let peer): peer
        case .registry: nil
        }
    }
}

/// Leads a blob's way to this node.
extension ImageShare {
    /// Takes the steps of the plan until the blob is here; no flight of it is left when this returns.
    ///
    /// What has come is kept when a source breaks off, and the next one gives the rest. When all of it is not the blob,
    /// the pull begins again at the first byte, with one source at a time, so that it is known who gives wrong bytes.
    ///
    /// - Throws: the registry's word, if it had one.
    func lead(_ first: BlobFlight, _ blob: Descriptor, _ plan: SharePlan, _ source: SharedSource) async throws {
        var flight = first
        var isThere = false
        defer {
            flights.withLock { $0[blob.digest] = nil }
            flight.writer.abort()
            flight.end(isThere)
        }
        var attempts = Attempt.all(of: plan)[...]
        var isOneAtATime = false
        var liars: Set<PeerID> = []
        var failure: (any Error)?
        while let attempt = attempts.popFirst() {
            if let peer = attempt.peer, liars.contains(peer) { continue }
            var isAlone = false
            do {
                if isOneAtATime, flight.written > 0 { flight = try restart(flight, of: blob) }
                isAlone = flight.written == 0
                flight.enter(attempt.phase)
                guard try await pull(blob, attempt, into: flight, source) else { continue }
                try flight.writer.commit(expected: blob.digest)
                isThere = true
                source.progress(blob.digest.description, "", flight.written, flight.written, true)
                return
            } catch let error as ContentStoreError where error.isWrongContent {
                flight = try restart(flight, of: blob)
                if isAlone, let liar = attempt.peer {
                    liars.insert(liar)
                    demote(liar, for: blob)
                }
                if failure == nil { failure = error }
                logger.debug("what came is not the blob", metadata: ["blob": "\(blob.digest)", "error": "\(error)"])
                guard !isOneAtATime else { continue }
                isOneAtATime = true
                attempts = Attempt.all(of: self.plan(for: blob.digest, isAsked: true))[...]
            } catch let error as ContentStoreError {
                throw error
            } catch {
                try Task.checkCancellation()
                if case .registry = attempt { failure = error } else if failure == nil { failure = error }
                logger.debug("a blob did not come", metadata: ["blob": "\(blob.digest)", "error": "\(error)"])
            }
        }
        throw failure ?? ShareError.refused("nobody has \(blob.digest)")
    }

    /// Puts an empty flight in the place of one whose bytes are not kept; who follows that one hears that it failed.
    private func restart(_ flight: BlobFlight, of blob: Descriptor) throws -> BlobFlight {
        let fresh = BlobFlight(writer: try content.ingest(), bytesMax: blob.size)
        fresh.enter(.holders)
        flights.withLock { $0[blob.digest] = fresh }
        flight.writer.abort()
        flight.end(false)
        return fresh
    }

    /// Notes that a peer gave all bytes of a wrong blob, first to last, and said that it was done.
    private func demote(_ liar: PeerID, for blob: Descriptor) {
        standing.demote(liar)
        logger.warning(
            "a node sent wrong bytes for a blob and is asked last from now on",
            metadata: ["blob": "\(blob.digest)", "node": "\(dialer.name(of: liar))"])
    }

    /// Pulls the rest of the blob; false when the source does not have it.
    private func pull(
        _ blob: Descriptor, _ attempt: Attempt, into flight: BlobFlight, _ source: SharedSource
    ) async throws -> Bool {
        switch attempt {
        case .owner(let peer): try await pull(blob, .get, from: peer, into: flight, source)
        case .registry: try await pullFromRegistry(blob, into: flight, source)
        case .holder(let peer):
            guard dialer.isLive(peer) else { return false }
            do {
                try await pull(blob, .hold, from: peer, into: flight, source)
            } catch let error as ContentStoreError {
                throw error
            } catch {
                try Task.checkCancellation()
                return false
            }
        }
        return true
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

    func next(on stream: any PeerStream, within limit: Duration) async throws -> ShareMessage {
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
}

extension ContentStoreError {
    fileprivate var isWrongContent: Bool { if case .wrongContent = self { true } else { false } }
}
