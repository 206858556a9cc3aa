internal import ClusterModel
internal import ContentStore
internal import Logging
internal import OCI
internal import Registry
internal import Worker

/// Serves peers: what is here, what is arriving, and what this node gets for all of them.
extension ImageShare {
    func serve(_ stream: any PeerStream) async throws {
        guard let first = try await stream.receive() else { return }
        switch try ShareMessage(decoding: first) {
        case .ask(let ask): try await serve(ask, stream)
        case .askResolution(let text): try await resolution(of: text, stream)
        default: throw PeerCallError.malformed("a message out of turn")
        }
        await stream.finish()
    }

    private func serve(_ ask: ShareMessage.Ask, _ stream: any PeerStream) async throws {
        let blob = ask.blob
        // `ShareMessage` bounds the blob's size, not this.
        guard let offset = Int64(exactly: ask.offset), offset <= blob.size else {
            return try await refuse("byte \(ask.offset) is behind the \(blob.size) bytes of the blob", stream)
        }
        if content.contains(blob.digest) { return try await send(blob.digest, from: offset, on: stream) }
        if let flight = flight(of: blob.digest) {
            guard ask.mode == .get ? await becomesFollowable(flight) : flight.isFromRegistry else {
                return try await refuse("it waits for the blob itself", stream)
            }
            return try await follow(flight, blob.digest, from: offset, stream)
        }
        guard ask.mode == .get else { return try await refuse("it does not have the blob", stream) }
        guard !isBusy else { return try await refuse("it is busy", stream) }
        let plan = plan(for: blob.digest, isAsked: true)
        let (flight, isMine) = try begin(blob, plan)
        guard isMine else { return try await serve(ask, stream) }
        let reference = try Reference(parsing: "\(ask.repository)@\(blob.digest)")
        let credentials = AskersCredentials(stream: stream)
        let source = SharedSource(
            reference: reference,
            provider: RegistryBlobs(registry.repository(of: reference, credentials: credentials)),
            credentials: credentials)
        // The pull goes on when this asker goes away: others may follow it.
        async let led: Void = lead(flight, blob, plan, source)
        async let followed: Void = follow(flight, blob.digest, from: offset, stream)
        let failure: (any Error)?
        do {
            try await led
            failure = nil
        } catch {
            failure = error
        }
        try await followed
        if let failure { logger.debug("a blob was not had for a peer", metadata: ["error": "\(failure)"]) }
    }

    /// Whether a flight can be followed within the limit.
    private func becomesFollowable(_ flight: BlobFlight) async -> Bool {
        do {
            try await withDeadline(Self.followLimit, timeout: ShareError.stalled) {
                try await flight.waitUntilFollowable()
            }
            return true
        } catch {
            return false
        }
    }

    private func refuse(_ why: String, _ stream: any PeerStream) async throws {
        try await stream.send(ShareMessage.refused(why).encoded)
    }

    /// Sends the rest of a blob that is here.
    private func send(_ digest: Digest, from offset: Int64, on stream: any PeerStream) async throws {
        let reader = try content.reader(of: digest)
        var position = offset
        while position < reader.size {
            let bytes = try reader.bytes(at: position, count: ShareMessage.payloadBytesMax)
            position += Int64(bytes.count)
            try await send(bytes, on: stream)
        }
        try await stream.send(ShareMessage.end.encoded)
    }

    private func send(_ bytes: [UInt8], on stream: any PeerStream) async throws {
        try await stream.send(ShareMessage.bytes(bytes).encoded)
        counters.add(\.layerBytesServed, UInt64(bytes.count))
    }

    /// Sends a blob while it arrives.
    private func follow(
        _ flight: BlobFlight, _ blob: Digest, from offset: Int64, _ stream: any PeerStream
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                while true {
                    try await stream.send(ShareMessage.waiting.encoded)
                    try await Task.sleep(for: Self.pulse)
                }
            }
            defer { group.cancelAll() }
            var position = offset
            while true {
                let outcome = await flight.progress(beyond: position)
                try Task.checkCancellation()
                if outcome == false { return try await refuse("it could not get the blob", stream) }
                if outcome == true { return try await send(blob, from: position, on: stream) }
                guard let bytes = try flight.writer.bytes(at: position, count: ShareMessage.payloadBytesMax),
                    !bytes.isEmpty
                else { continue }
                position += Int64(bytes.count)
                try await send(bytes, on: stream)
            }
        }
    }

    private func resolution(of text: String, _ stream: any PeerStream) async throws {
        let reference = try Reference(parsing: text)
        guard let recent = await resolutions.recent(reference) else {
            return try await refuse("it has not resolved the reference", stream)
        }
        let age = UInt32(clamping: recent.age.components.seconds)
        try await stream.send(ShareMessage.resolution(recent.descriptor, ageSeconds: age).encoded)
    }
}

/// The logins of the build that a peer asks for, asked of that peer when the registry wants one.
private struct AskersCredentials: CredentialSource {
    let stream: any PeerStream

    func login(forHost host: String) async throws -> RegistryLogin? {
        try await stream.send(ShareMessage.wantLogin(host: host).encoded)
        guard let bytes = try await stream.receive() else { throw ShareError.ended }
        guard case .login(let login) = try ShareMessage(decoding: bytes) else {
            throw ShareError.malformed("no login when it was asked for one")
        }
        return login.map { RegistryLogin(username: $0.username, secret: $0.secret) }
    }
}
