package import ClusterModel
package import ContentStore
package import OCI
internal import Transfer

extension ContentStore {
    /// Sends a blob to a peer that pulls it.
    package func serveBlob(_ digest: Digest, on stream: any PeerStream) async throws {
        let reader: BlobReader
        do { reader = try self.reader(of: digest) } catch {
            try await stream.send(TransferMessage.failure("\(error)").encoded())
            await stream.finish()
            throw error
        }
        var position: Int64 = 0
        repeat {
            let bytes = try reader.bytes(at: position, count: TransferMessage.payloadBytesMax)
            let message = position == 0 ? TransferMessage.head(total: reader.size, bytes[...]) : .part(bytes[...])
            try await stream.send(message.encoded())
            position += Int64(bytes.count)
        } while position < reader.size
        await stream.finish()
    }

    /// Fetches a blob from a peer, whole and verified or not at all; durable when this returns.
    ///
    /// Harmless when it is here.
    ///
    /// `counting` is told the bytes as they come.
    /// - Throws: `TransferError`, what the stream throws, `ContentStoreError`.
    package func pullBlob(
        _ digest: Digest, from stream: any PeerStream, counting: @escaping @Sendable (Int64) -> Void = { _ in }
    ) async throws {
        guard !contains(digest) else {
            stream.reset()
            return
        }
        do {
            await stream.finish()
            let writer = try ingest()
            var pull = BlobPull(digest)
            while let message = try await stream.receive() {
                let (bytes, isLast) = try pull.receive(TransferMessage(decoding: message))
                try writer.write(bytes)
                counting(Int64(bytes.count))
                guard isLast else { continue }
                try await offPool { _ = try writer.commit(expected: digest) }
                return
            }
            throw TransferError.endedEarly
        } catch {
            stream.reset()
            throw error
        }
    }
}
