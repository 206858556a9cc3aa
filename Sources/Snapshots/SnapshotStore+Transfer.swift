package import ClusterModel
internal import Glibc
package import OCI
internal import Synchronization
internal import Transfer

extension SnapshotStore {
    /// Sends a layer to a peer that pulls it: the manifest, then what the peer wants of it.
    ///
    /// - Throws: `TransferError` when the peer breaks the rules, what the stream throws, `SnapshotError`.
    package func serveLayer(_ id: Digest, on stream: any PeerStream) async throws {
        let manifest: LayerManifest
        do {
            try pin([id])
            do { manifest = try self.manifest(of: id) } catch {
                unpin([id])
                throw error
            }
        } catch {
            try await stream.send(TransferMessage.failure("\(error)").encoded())
            await stream.finish()
            throw error
        }
        defer { unpin([id]) }
        try await stream.sendParts(of: manifest.encoded())
        var serve = LayerServe(manifest)
        while let bytes = try await stream.receive() {
            guard let wanted = try serve.receive(TransferMessage(decoding: bytes)) else { continue }
            try await send(wanted, of: manifest, on: stream)
            try await stream.send(TransferMessage.end.encoded())
            await stream.finish()
            return
        }
        // The peer had the layer already, or went away.
        await stream.finish()
    }

    private func send(_ wanted: [Int], of manifest: LayerManifest, on stream: any PeerStream) async throws {
        let root = contentPath(of: manifest.id)
        var packer = ContentPacker()
        for index in wanted {
            let entry = manifest.entries[index]
            guard case .file(let size, _) = entry.kind else { continue }
            let file = try LayerFile(root: root, entry: entry, size: size)
            var position: Int64 = 0
            while position < size {
                // A hole costs nothing: the next piece starts behind it, or an empty one at the end says how long it was.
                let data = try file.nextData(from: position)
                position = data.lowerBound
                if position == size { packer.add(TransferMessage.Piece(entry: index, offset: size, bytes: [])) }
                while position < data.upperBound {
                    if packer.room == 0, let full = packer.flush() { try await stream.send(full.encoded()) }
                    let bytes = try file.bytes(
                        at: position, count: Int(min(Int64(packer.room), data.upperBound - position)))
                    packer.add(TransferMessage.Piece(entry: index, offset: position, bytes: bytes[...]))
                    position += Int64(bytes.count)
                }
                if packer.room == 0, let full = packer.flush() { try await stream.send(full.encoded()) }
            }
        }
        if let rest = packer.flush() { try await stream.send(rest.encoded()) }
    }

    /// Fetches a layer from a peer, whole and verified or not at all; durable when this returns.
    ///
    /// Harmless when the layer is here. Of several pulls of one layer at once, one works and the others wait for it.
    /// `counting` is told the bytes of content as they come; their sum is at most the layer's `bytes`.
    /// - Throws: `TransferError`, what the stream throws, `SnapshotError`.
    package func pullLayer(
        _ id: Digest, from stream: any PeerStream, counting: @escaping @Sendable (Int64) -> Void = { _ in }
    ) async throws {
        while true {
            if contains(id) {
                stream.reset()
                return
            }
            guard await waitForOther(id) else { break }
            try Task.checkCancellation()
        }
        defer { endPull(of: id) }
        guard !contains(id) else {
            stream.reset()
            return
        }
        do { try await pull(id, from: stream, counting: counting) } catch {
            stream.reset()
            throw error
        }
    }

    /// False when nobody else pulls the layer, and this caller is now the one who does; true when another's pull ended.
    private func waitForOther(_ id: Digest) async -> Bool {
        let ticket = nextNumber()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = withPulls { pulls -> Bool? in
                    guard pulls[id] != nil else {
                        pulls[id] = PullWaiters()
                        return false
                    }
                    // A cancellation from here on finds the entry.
                    if Task.isCancelled { return true }
                    pulls[id]?.waiting[ticket] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let mine = withPulls { $0[id]?.waiting.removeValue(forKey: ticket) }
            mine?.resume(returning: true)
        }
    }

    private func endPull(of id: Digest) {
        let waiting = withPulls { $0.removeValue(forKey: id)?.waiting ?? [:] }
        for continuation in waiting.values { continuation.resume(returning: true) }
    }

    private func pull(
        _ id: Digest, from stream: any PeerStream, counting: @escaping @Sendable (Int64) -> Void
    ) async throws {
        var pull = LayerPull(id)
        var target: PulledLayer?
        while let bytes = try await stream.receive() {
            for effect in try pull.receive(TransferMessage(decoding: bytes)) {
                switch effect {
                case .manifest(let manifest):
                    let fresh = try PulledLayer(manifest, staging: makeStaging())
                    target = fresh
                    for message in pull.want(fresh.wanted) { try await stream.send(message.encoded()) }
                    await stream.finish()
                case .write(let entry, let offset, let piece):
                    try target?.write(piece, at: offset, of: entry)
                    counting(Int64(piece.count))
                case .complete(let entry): try target?.complete(entry)
                case .finished:
                    guard let target else { throw TransferError.endedEarly }
                    try await offPool { [self] in
                        try target.finish()
                        try seal(target.staging + "/layer", as: target.manifest)
                    }
                    return
                }
            }
        }
        throw TransferError.endedEarly
    }
}

extension PeerStream {
    /// Sends `bytes` as a head and parts.
    func sendParts(of bytes: [UInt8]) async throws {
        var position = min(bytes.count, TransferMessage.payloadBytesMax)
        try await send(TransferMessage.head(total: Int64(bytes.count), Array(bytes[..<position])).encoded())
        while position < bytes.count {
            let end = min(bytes.count, position + TransferMessage.payloadBytesMax)
            try await send(TransferMessage.part(Array(bytes[position..<end])).encoded())
            position = end
        }
    }
}
