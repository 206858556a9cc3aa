package import ClusterModel
internal import UVLoop

/// Streams: opening, serving, sending and receiving.
extension PeerLinks {
    /// Opens a stream for `service` on the link to a node, which is dialed when there is none.
    ///
    /// `priority` holds for both directions. `expecting` is the node that must answer; nil takes whoever is at the address and has the cluster key. Throws
    /// `WireError` or `CancellationError`.
    package func open(
        _ service: String, to address: PeerAddress, expecting: PeerID?, priority: StreamPriority = .control
    ) async throws -> any PeerStream {
        guard (1...WireLimits.serviceNameBytesMax).contains(service.utf8.count) else {
            throw WireError.serviceNameTooLong(service)
        }
        guard !stopped, listener != nil else { throw WireError.stopped }
        let link = try await establishedLink(to: address, expecting: expecting)
        try Task.checkCancellation()
        guard let peer = link.peer else { throw link.failure ?? .stopped }
        if let expecting, peer != expecting {
            throw WireError.unexpectedPeer(address: address, expected: expecting, found: peer)
        }
        guard link.failure == nil else { throw link.failure ?? .stopped }
        guard let id = try? link.machine.streams.open(service: service, priority: priority) else {
            throw WireError.tooManyStreams(peer: peer, streamsMax: WireLimits.streamsMax)
        }
        counted.count(service: service) { $0.streamsOpened += 1 }
        let stream = register(id, on: link, service: service, priority).stream
        pump(link)
        return stream
    }

    private func establishedLink(to address: PeerAddress, expecting: PeerID?) async throws -> Link {
        let known = expecting.flatMap { linkOfPeer[$0] } ?? linkOfAddress[address]
        if let known, let link = links[known], link.isUsable || link.peer == nil {
            if link.peer != nil { return link }
            return try await waitFor(link)
        }
        return try await waitFor(try dial(address))
    }

    private func waitFor(_ link: Link) async throws -> Link {
        await withCheckedContinuation { dialWaiters[link.number, default: []].append($0) }
        if let failure = link.failure { throw failure }
        // When both have dialed at once, the other link may be the one to keep.
        guard let peer = link.peer, let number = linkOfPeer[peer], let kept = links[number], kept.isUsable else {
            return link
        }
        return kept
    }

    private func register(
        _ id: UInt32, on link: Link, service: String, _ priority: StreamPriority
    ) -> (stream: LinkStream, handle: UInt64) {
        let handle = nextNumber()
        streams[handle] = StreamEntry(link: link, id: id, service: service, priority: priority)
        link.handles[id] = handle
        link.idleSince = nil
        return (LinkStream(links: self, handle: handle), handle)
    }

    func handle(_ event: StreamMultiplexer.Event, on link: Link) {
        switch event {
        case .opened(let id, let service, let priority): accept(id, service, priority, on: link)
        case .readable(let id): link.handles[id].map { streams[$0]?.wakeReader() }
        case .writable(let id): link.handles[id].map { streams[$0]?.wakeWriters() }
        case .pinged, .ponged: break  // `pump` sends the pong; hearing anything is proof of life.
        case .goAway: peerLeaves(link)
        }
    }

    /// Serves a stream that a peer opened, or lets it wait for its turn.
    private func accept(_ id: UInt32, _ service: String, _ priority: StreamPriority, on link: Link) {
        guard handler != nil, let peer = link.peer, !stopped else {
            link.machine.streams.reset(id)
            return
        }
        counted.count(service: service) { $0.streamsAccepted += 1 }
        let (stream, handle) = register(id, on: link, service: service, priority)
        let accepted = UnservedStream(service: service, priority: priority, peer: peer, stream: stream)
        if slots.admit(handle, priority) {
            serve(accepted)
        } else {
            enqueue(accepted, as: handle)
        }
    }

    private func serve(_ accepted: consuming UnservedStream) {
        guard let handler, !stopped else { return }
        let (service, priority, peer, stream) = (accepted.service, accepted.priority, accepted.peer, accepted.stream)
        let number = nextNumber()
        // A task of its own: the loop cannot wait for a handler, and nobody else awaits it. `stop` does.
        serving[number] = Task {
            await Self.run(handler, service, peer, stream)
            self.serving[number] = nil
            self.served(priority)
        }
    }

    private func served(_ priority: StreamPriority) {
        guard let handle = slots.released(priority), let next = unserved.removeValue(forKey: handle) else { return }
        serve(next)
    }

    /// Off the loop's thread; lets go of the stream as it returns.
    private nonisolated static func run(
        _ handler: Handler, _ service: String, _ peer: PeerID, _ stream: consuming LinkStream
    ) async {
        await handler(service, peer, stream)
    }

    // MARK: What a `LinkStream` does

    func send(_ message: [UInt8], on handle: UInt64) async throws {
        guard message.count <= PeerStreamLimits.messageBytesMax else {
            throw WireError.messageTooLong(bytes: message.count, bytesMax: PeerStreamLimits.messageBytesMax)
        }
        while true {
            guard let entry = streams[handle] else { throw WireError.stopped }
            try check(entry)
            if entry.link.machine.streams.hasRoom(entry.id) {
                guard entry.link.machine.streams.send(message, on: entry.id) else { throw ended(entry) }
                counted.count(service: entry.service) { $0.bytesOut += UInt64(message.count) }
                return pump(entry.link)
            }
            try await waitForRoom(handle)
        }
    }

    private func check(_ entry: StreamEntry) throws {
        try Task.checkCancellation()
        if let failure = entry.link.failure { throw failure }
    }

    private func ended(_ entry: StreamEntry) -> WireError {
        if let failure = entry.link.failure { return failure }
        guard let peer = entry.link.peer else { return .stopped }
        return entry.link.machine.streams.isReset(entry.id)
            ? .streamReset(service: entry.service, peer: peer) : .streamClosed(service: entry.service, peer: peer)
    }

    private func waitForRoom(_ handle: UInt64) async throws {
        let ticket = nextNumber()
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                guard !Task.isCancelled, streams[handle] != nil else {
                    return continuation.resume(throwing: CancellationError())
                }
                streams[handle]?.writers.append((ticket, continuation))
            }
        } onCancel: {
            onLoop { $0.cancelWriter(handle, ticket) }
        }
    }

    private func cancelWriter(_ handle: UInt64, _ ticket: UInt64) {
        guard let index = streams[handle]?.writers.firstIndex(where: { $0.ticket == ticket }),
            let writer = streams[handle]?.writers.remove(at: index)
        else { return }
        writer.continuation.resume(throwing: CancellationError())
    }

    func receive(on handle: UInt64) async throws -> [UInt8]? {
        while true {
            try Task.checkCancellation()
            guard let entry = streams[handle] else { throw WireError.stopped }
            switch entry.link.machine.streams.take(entry.id) {
            case .message(let bytes):
                counted.count(service: entry.service) { $0.bytesIn += UInt64(bytes.count) }
                pump(entry.link)  // Credit may be due.
                return bytes
            case .end: return nil
            case .reset: throw ended(entry)
            case .nothingYet: try await waitForMessage(handle)
            }
        }
    }

    private func waitForMessage(_ handle: UInt64) async throws {
        let ticket = nextNumber()
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                guard !Task.isCancelled, let entry = streams[handle] else {
                    return continuation.resume(throwing: CancellationError())
                }
                guard entry.reader == nil else {
                    return continuation.resume(throwing: WireError.concurrentReceive(service: entry.service))
                }
                streams[handle]?.reader = (ticket, continuation)
            }
        } onCancel: {
            onLoop { $0.cancelReader(handle, ticket) }
        }
    }

    private func cancelReader(_ handle: UInt64, _ ticket: UInt64) {
        guard let reader = streams[handle]?.reader, reader.ticket == ticket else { return }
        streams[handle]?.reader = nil
        reader.continuation.resume(throwing: CancellationError())
    }

    func linkRate(of handle: UInt64) -> LinkRate? {
        // A limit of ours is as good as a slow link.
        if let limiter { return LinkRate(bytesPerSecond: Double(limiter.rate), isLowerBound: false) }
        return streams[handle]?.link.connection?.deliveryRate.map {
            LinkRate(bytesPerSecond: $0.bytesPerSecond, isLowerBound: $0.isLowerBound)
        }
    }

    func finishStream(_ handle: UInt64) {
        guard let entry = streams[handle] else { return }
        entry.link.machine.streams.finish(entry.id)
        pump(entry.link)
    }

    /// Ends both directions; waiting tasks of this side get an error.
    func resetStream(_ handle: UInt64) {
        guard let entry = streams[handle] else { return }
        entry.link.machine.streams.reset(entry.id)
        streams[handle]?.wakeReader()
        streams[handle]?.wakeWriters()
        forget(entry)
    }

    /// Nobody holds the stream any more.
    func abandonStream(_ handle: UInt64) {
        guard let entry = streams.removeValue(forKey: handle) else { return }
        entry.link.machine.streams.abandon(entry.id)
        forget(entry)
    }

    private func forget(_ entry: StreamEntry) {
        let link = entry.link
        link.handles[entry.id] = nil
        pump(link)
        guard link.handles.isEmpty, link.failure == nil else { return }
        link.idleSince = now
    }
}
