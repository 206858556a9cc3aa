package import ClusterModel
package import ContentStore
package import OCI
package import Transfer

extension ContentStore {
    /// Sends a blob to a peer that pulls it, as long as that takes what it is sent.
    ///
    /// - Throws: `TransferError.idle`, what the stream throws, `ContentStoreError`.
    package func serveBlob(
        _ digest: Digest, on stream: any PeerStream, limits: TransferLimits = TransferLimits()
    ) async throws {
        let reader: BlobReader
        do { reader = try self.reader(of: digest) } catch {
            try await stream.send(TransferMessage.failure("\(error)").encoded())
            await stream.finish()
            throw error
        }
        try await withStallGuard(on: stream, limits.whileServing, failure: .idle(limits.servedIdle)) { heard in
            var position: Int64 = 0
            repeat {
                let bytes = try reader.bytes(at: position, count: TransferMessage.payloadBytesMax)
                let message = position == 0 ? TransferMessage.head(total: reader.size, bytes[...]) : .part(bytes[...])
                try await stream.send(message.encoded())
                heard(.answer)
                position += Int64(bytes.count)
            } while position < reader.size
        }
        await stream.finish()
    }

    /// Fetches a blob from a peer, whole and verified or not at all; durable when this returns.
    ///
    /// Harmless when it is here.
    ///
    /// Without `waits` a peer that serves others first is not waited for. `counting` is told the bytes as they come.
    /// - Throws: `TransferError`, `.busy` instead of waiting, what the stream throws, `ContentStoreError`.
    package func pullBlob(
        _ digest: Digest, from stream: any PeerStream, waits: Bool = true, limits: TransferLimits = TransferLimits(),
        counting: @escaping @Sendable (Int64) -> Void = { _ in }
    ) async throws {
        guard !contains(digest) else {
            stream.reset()
            return
        }
        do {
            await stream.finish()
            let writer = try ingest()
            try await withStallGuard(on: stream, limits, failure: .stalled(limits)) { heard -> Void in
                var pull = BlobPull(digest)
                var inbox = HolderInbox(stream, waits: waits)
                while let (message, count) = try await inbox.next({ heard(.waiting) }) {
                    let (bytes, isLast) = try pull.receive(message)
                    heard(.part(bytes: count))
                    try writer.write(bytes)
                    counting(Int64(bytes.count))
                    if isLast { return }
                }
                throw TransferError.endedEarly
            }
            try await offPool { _ = try writer.commit(expected: digest) }
        } catch {
            stream.reset()
            throw error
        }
    }
}
