package import ClusterModel
package import OCI
internal import Synchronization
internal import Transfer

extension SnapshotStore {
    /// Sends what a peer asks of a layer: the manifest, chunks, both.
    ///
    /// Reading and compressing go on while the pack before is sent; two packs are in memory. The layer cannot be removed
    /// meanwhile. `counting` is told the bytes of content that went out.
    /// - Throws: `TransferError` when the peer breaks the rules, what the stream throws, `SnapshotError`.
    package func serveLayer(
        _ id: Digest, on stream: any PeerStream, counting: @escaping @Sendable (Int64) -> Void = { _ in }
    ) async throws {
        do { try pin([id]) } catch {
            try await stream.send(TransferMessage.failure("\(error)").encoded())
            await stream.finish()
            throw error
        }
        defer { unpin([id]) }
        do { try await serve(id, on: stream, counting) } catch let error as SnapshotError {
            try await stream.send(TransferMessage.failure("\(error)").encoded())
            await stream.finish()
            throw error
        }
    }

    private func serve(
        _ id: Digest, on stream: any PeerStream, _ counting: @escaping @Sendable (Int64) -> Void
    ) async throws {
        let manifest = try manifest(of: id)
        let path = contentPath(of: id)
        let handover = Handover<Outgoing>(capacity: 1)
        let packer = OutgoingPacker(manifest, at: path)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { handover.end() }
                while let bytes = try await stream.receive() {
                    switch try TransferMessage(decoding: bytes) {
                    case .askManifest:
                        for message in packer.manifestMessages() {
                            guard await handover.give(message) else { return }
                        }
                    case .want(let request, let ranges):
                        let pack = try await offPool { try packer.pack(request, ranges) }
                        guard await handover.give(pack) else { return }
                    default: throw TransferError.unexpectedMessage("a message that only holders send")
                    }
                }
            }
            group.addTask {
                defer { handover.end() }
                let clock = ContinuousClock()
                while let next = await handover.take() {
                    let start = clock.now
                    for message in next.messages { try await stream.send(message) }
                    packer.sent(next, seconds: (clock.now - start).inSeconds)
                    counting(Int64(next.contentBytes))
                }
            }
            while let result = await group.nextResult() {
                if case .failure = result { handover.end() }
                try result.get()
            }
        }
        await stream.finish()
    }
}

/// Messages of a pack, ready to be sent.
private struct Outgoing: Sendable {
    var messages: [[UInt8]]
    var bytes: Int
    var contentBytes: Int
}

/// Makes packs of a layer for one stream.
private final class OutgoingPacker: Sendable {
    private let manifest: LayerManifest
    private let path: String
    private let served = Mutex<ServedChunks?>(nil)
    private let coder = ZstdCoder()
    private let choice = Mutex(CompressionChoice())

    init(_ manifest: LayerManifest, at path: String) {
        self.manifest = manifest
        self.path = path
    }

    func manifestMessages() -> [Outgoing] {
        let encoded = manifest.encoded()
        let head = TransferMessage.manifest(total: Int64(encoded.count)).encoded()
        var messages = [Outgoing(messages: [head], bytes: 0, contentBytes: 0)]
        var position = 0
        while position < encoded.count {
            let end = min(encoded.count, position + TransferMessage.packBytesMax)
            messages.append(encode(messages.count - 1, Array(encoded[position..<end]), contentBytes: 0))
            position = end
        }
        return messages
    }

    func pack(_ request: Int, _ ranges: [Range<Int>]) throws -> Outgoing {
        let known = served.withLock { served in
            let value = served ?? ServedChunks(manifest)
            served = value
            return value
        }
        let chunks = try known.wanted(ranges)
        var reader = try ChunkReader(manifest, at: path)
        let plain = try reader.bytes(of: chunks)
        return encode(request, plain, contentBytes: plain.count)
    }

    func sent(_ outgoing: Outgoing, seconds: Double) {
        guard outgoing.contentBytes > 0 else { return }
        choice.withLock { $0.sent(outgoing.bytes, seconds: seconds) }
    }

    private func encode(_ request: Int, _ plain: [UInt8], contentBytes: Int) -> Outgoing {
        var encoded = plain
        var coding = TransferMessage.Coding.plain
        if choice.withLock({ $0.isWorthTrying() }) {
            let compressed = coder.compress(plain)
            if choice.withLock({ $0.compressed(from: plain.count, to: compressed?.count ?? plain.count) }),
                let compressed
            {
                encoded = compressed
                coding = .zstd
            }
        }
        var position = min(encoded.count, TransferMessage.payloadBytesMax)
        let head = TransferMessage.Pack(
            request: request, coding: coding, plainBytes: plain.count, encodedBytes: encoded.count,
            bytes: encoded[..<position])
        var messages = [TransferMessage.pack(head).encoded()]
        while position < encoded.count {
            let end = min(encoded.count, position + TransferMessage.payloadBytesMax)
            messages.append(TransferMessage.part(Array(encoded[position..<end])).encoded())
            position = end
        }
        return Outgoing(messages: messages, bytes: encoded.count, contentBytes: contentBytes)
    }
}
