package import ClusterModel
package import OCI
internal import Synchronization
internal import Transfer

extension SnapshotStore {
    /// Sends what a peer asks of a layer: the manifest, chunks, both.
    ///
    /// Reading and compressing go on while the pack before is sent; two packs are in memory. The layer cannot be removed
    /// meanwhile, so a peer that asks for nothing for long is served no more. `counting` is told the bytes of content
    /// that went out.
    /// - Throws: `TransferError` when the peer breaks the rules or is idle, what the stream throws, `SnapshotError`.
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
        let limits = transferLimits
        try await withStallGuard(on: stream, limits.whileServing, failure: .idle(limits.servedIdle)) { heard in
            try await self.answer(id, on: stream, heard, counting)
        }
        await stream.finish()
    }

    private func answer(
        _ id: Digest, on stream: any PeerStream, _ heard: @escaping ProgressReport,
        _ counting: @escaping @Sendable (Int64) -> Void
    ) async throws {
        let handover = Handover<Outgoing>(capacity: 1)
        let packer = OutgoingPacker(id, of: self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { handover.end() }
                while let bytes = try await stream.receive() {
                    heard(.answer)
                    switch try TransferMessage(decoding: bytes) {
                    case .askManifest:
                        for message in try await offPool({ try packer.manifestMessages() }) {
                            guard await handover.give(message) else { return }
                        }
                        // While the puller reads it.
                        try await offPool { try packer.prepare() }
                    case .want(let request, let ranges):
                        let pack = try await offPool { try packer.pack(request, ranges) }
                        guard await handover.give(pack) else { return }
                    case .askOutline(let request, let ranges):
                        let outline = try await offPool { try packer.outline(request, ranges) }
                        guard await handover.give(outline) else { return }
                    case .wantPieces(let request, let ranges, let pieces):
                        let pack = try await offPool { try packer.pieces(request, ranges, pieces) }
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
                    for message in next.messages {
                        try await stream.send(message)
                        heard(.answer)
                    }
                    let seconds = (clock.now - start).inSeconds
                    packer.sent(next, seconds: seconds, linkRate: await stream.linkRate())
                    counting(Int64(next.contentBytes))
                }
            }
            while let result = await group.nextResult() {
                if case .failure = result { handover.end() }
                try result.get()
            }
        }
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
    private let id: Digest
    private let store: SnapshotStore
    private let served = Mutex<ServedChunks?>(nil)
    private let coder = ZstdCoder()
    private let choice = Mutex(CompressionChoice())
    /// Of a manifest's bytes half are digests: more effort gives nothing.
    private static let manifestLevel: Int32 = 1

    init(_ id: Digest, of store: SnapshotStore) {
        self.id = id
        self.store = store
    }

    /// The manifest as it is on disk: the puller decodes it while this side does.
    func manifestMessages() throws -> [Outgoing] {
        guard let encoded = try store.readFile(store.layerPath(id) + "/manifest"), Digest.of(encoded) == id else {
            throw SnapshotError.corruptLayer(id, "its manifest cannot be used")
        }
        let head = TransferMessage.manifest(total: Int64(encoded.count)).encoded()
        var messages = [Outgoing(messages: [head], bytes: 0, contentBytes: 0)]
        var position = 0
        while position < encoded.count {
            let end = min(encoded.count, position + TransferMessage.packBytesMax)
            messages.append(
                try encode(messages.count - 1, encoded[position..<end], level: Self.manifestLevel, contentBytes: 0))
            position = end
        }
        return messages
    }

    /// Makes ready for the first request.
    func prepare() throws { _ = try chunks() }

    private func chunks() throws -> ServedChunks {
        try served.withLock { served in
            if let served { return served }
            let value = ServedChunks(try store.manifest(of: id))
            served = value
            return value
        }
    }

    func pack(_ request: Int, _ ranges: [Range<Int>]) throws -> Outgoing {
        let served = try chunks()
        let chunks = try served.wanted(ranges)
        let bytes = chunks.reduce(0) { $0 + $1.length }
        var reader = try ChunkReader(served.manifest, at: store.contentPath(of: id))
        guard let level = choice.withLock({ $0.nextLevel() }) else {
            let head = Self.head(request, .plain, plain: bytes, encoded: bytes)
            let messages = try reader.messages(of: chunks, bytesMax: TransferMessage.payloadBytesMax) {
                $0 == 0 ? head : Self.partHead
            }
            return Outgoing(messages: messages, bytes: bytes, contentBytes: bytes)
        }
        return try coder.encode(bytes, level: level) { buffer in
            try reader.read(chunks, into: buffer)
        } use: { plain, frame in
            outgoing(request, plain, frame, isTried: true, contentBytes: bytes)
        }
    }

    /// What chunks are made of.
    func outline(_ request: Int, _ ranges: [Range<Int>]) throws -> Outgoing {
        var pieces: [ChunkOutline.Piece] = []
        _ = try outlined(ranges) { pieces += ChunkOutline.pieces(of: $0) }
        let message = TransferMessage.outline(request: request, pieces).encoded()
        return Outgoing(messages: [message], bytes: message.count, contentBytes: 0)
    }

    /// Pieces of chunks.
    func pieces(_ request: Int, _ ranges: [Range<Int>], _ wanted: [Range<Int>]) throws -> Outgoing {
        var lengths: [Int] = []
        let plain = try outlined(ranges) { lengths += ChunkOutline.lengths(of: $0) }
        var bytes: [UInt8] = []
        for stretch in try ServedChunks.stretches(of: wanted, lengths: lengths) { bytes += plain[stretch] }
        return try encode(request, bytes[...], level: choice.withLock { $0.nextLevel() }, contentBytes: bytes.count)
    }

    /// Shows each of the chunks that have outlines to `body`; gives all of them one behind the other.
    private func outlined(_ ranges: [Range<Int>], _ body: (UnsafeRawBufferPointer) -> Void) throws -> [UInt8] {
        let served = try chunks()
        let chunks = try served.outlined(ranges)
        var reader = try ChunkReader(served.manifest, at: store.contentPath(of: id))
        let bytesMax = chunks.reduce(0) { $0 + $1.length }
        let plain = try reader.messages(of: chunks, bytesMax: bytesMax) { _ in [] }[0]
        plain.withUnsafeBytes { bytes in
            var start = 0
            for chunk in chunks {
                body(UnsafeRawBufferPointer(rebasing: bytes[start..<start + chunk.length]))
                start += chunk.length
            }
        }
        return plain
    }

    /// Takes what was measured when a pack had gone; `linkRate` is nil when the stream does not know it.
    func sent(_ outgoing: Outgoing, seconds: Double, linkRate: LinkRate?) {
        guard outgoing.contentBytes > 0 else { return }
        choice.withLock { choice in
            if let linkRate {
                choice.measured(linkRate: linkRate.bytesPerSecond, isLowerBound: linkRate.isLowerBound)
            } else {
                choice.sent(outgoing.bytes, seconds: seconds)
            }
        }
    }

    private static let partHead = TransferMessage.part([]).encoded()

    private static func head(
        _ request: Int, _ coding: TransferMessage.Coding, plain: Int, encoded: Int
    ) -> [UInt8] {
        TransferMessage.pack(
            .init(request: request, coding: coding, plainBytes: plain, encodedBytes: encoded, bytes: [])
        ).encoded()
    }

    private func encode(
        _ request: Int, _ plain: ArraySlice<UInt8>, level: Int32?, contentBytes: Int
    ) throws -> Outgoing {
        try coder.encode(plain.count, level: level) { buffer in
            buffer.copyBytes(from: plain)
        } use: { plain, frame in
            outgoing(request, plain, frame, isTried: level != nil, contentBytes: contentBytes)
        }
    }

    /// The messages of a pack; a `frame` that is hardly shorter than `plain` is not worth the puller's time.
    ///
    /// `isTried` without a frame: the bytes do not shrink.
    private func outgoing(
        _ request: Int, _ plain: UnsafeRawBufferPointer, _ frame: UnsafeRawBufferPointer?, isTried: Bool,
        contentBytes: Int
    ) -> Outgoing {
        var encoded = plain
        var coding = TransferMessage.Coding.plain
        if isTried {
            let isWorthIt = choice.withLock { $0.compressed(from: plain.count, to: frame?.count ?? plain.count) }
            if isWorthIt, let frame { (encoded, coding) = (frame, .zstd) }
        }
        var messages: [[UInt8]] = []
        var position = 0
        repeat {
            let end = min(encoded.count, position + TransferMessage.payloadBytesMax)
            var message =
                position == 0
                ? Self.head(request, coding, plain: plain.count, encoded: encoded.count) : Self.partHead
            message.reserveCapacity(message.count + end - position)
            message += encoded[position..<end]
            messages.append(message)
            position = end
        } while position < encoded.count
        return Outgoing(messages: messages, bytes: encoded.count, contentBytes: contentBytes)
    }
}
